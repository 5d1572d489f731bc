package status_test

import (
	"testing"
	"time"

	"obdagent/agent/status"
)

// BenchmarkJudge is what a look costs, which the agent takes every five seconds: a van on the road, and one with all that is wrong.
func BenchmarkJudge(b *testing.B) {
	for name, s := range map[string]status.Snapshot{"driving": driving(), "troubled": troubled()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var h status.History
			now := time.Duration(0)
			for b.Loop() {
				now += 5 * time.Second
				h.Judge(now, &s)
			}
		})
	}
}
