package obd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
)

// everyone puts a request with the ears open for all ECUs, and returns the whole reply.
func (d *drive) everyone(ctx context.Context, cmd string) (reply []byte, err error) {
	err = d.loosened(ctx, func() error {
		raw, _, err := d.s.exchange(ctx, cmd, deadlineSlow)
		reply = bytes.Clone(raw)
		return err
	})
	return reply, err
}

// othersCodes takes the other ECUs' codes out of a reply, and tells whether one of them has answered at all. What it
// cannot read does not count against the engine's ECU.
func (d *drive) othersCodes(cmd string, raw []byte, service byte) bool {
	if !d.l.several {
		return false
	}
	msgs, err := parseReply(cmd, raw, sender{framing: d.l.framing})
	if err != nil {
		return false
	}
	by := map[string][]message{}
	for _, m := range msgs {
		if m.ecu != d.l.ecu {
			by[m.ecu] = append(by[m.ecu], m)
		}
	}
	answered := false
	for ecu, msgs := range by {
		codes, err := decodeCodes(msgs, service, d.l.framing)
		if err != nil {
			if !errors.Is(err, ErrNegative) {
				d.c.failed(err)
			}
			continue
		}
		answered = true
		if len(codes) > 0 {
			*d.trouble.now.of(ecu, service) = codes
		}
	}
	return answered
}

// of is the list of a service's codes of another ECU.
func (t *Trouble) of(ecu string, service byte) *[]string {
	i, found := slices.BinarySearchFunc(t.Others, ecu, func(e ECUTrouble, ecu string) int { return cmp.Compare(e.ECU, ecu) })
	if !found {
		t.Others = slices.Insert(t.Others, i, ECUTrouble{ECU: ecu})
	}
	switch e := &t.Others[i]; service {
	case 0x03:
		return &e.Stored
	case 0x07:
		return &e.Pending
	default:
		return &e.Permanent
	}
}

func sameECU(a, b ECUTrouble) bool {
	return a.ECU == b.ECU && slices.Equal(a.Stored, b.Stored) && slices.Equal(a.Pending, b.Pending) && slices.Equal(a.Permanent, b.Permanent)
}
