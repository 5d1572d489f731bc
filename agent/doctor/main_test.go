package doctor_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if port := os.Getenv(holderVariable); port != "" {
		os.Exit(hold(port))
	}
	goleak.VerifyTestMain(m)
}
