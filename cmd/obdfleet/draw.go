package main

import (
	"errors"

	"github.com/spf13/cobra"

	"obdagent/agent/report"
)

// drawFlags are the files that a report is drawn into.
type drawFlags struct{ html, gpx, geojson string }

func (f *drawFlags) add(*cobra.Command) {}

type drawing struct{}

func (f *drawFlags) open() (*drawing, error) { return &drawing{}, nil }

func (d *drawing) track() func(report.TrackPoint) error { return nil }

func (d *drawing) finish(*report.Report) error { return nil }

func (d *drawing) discard() { _ = errors.ErrUnsupported }
