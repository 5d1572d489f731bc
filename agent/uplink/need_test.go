package uplink_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// lacks skips the test for want of something that the machine does not have, or fails it if OBDAGENT_TEST_REQUIRE lists the need.
func lacks(t *testing.T, need, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("OBDAGENT_TEST_REQUIRE"), ","), need) {
		t.Fatalf("%s is required and missing: %s", need, why)
	}
	t.Skipf("%s is missing: %s", need, why)
}
