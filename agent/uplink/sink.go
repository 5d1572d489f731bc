package uplink

import (
	"context"
	"errors"
	"fmt"
)

// A Sink takes entries and says which of them it did not take.
//
// Put is one upload: it never tries twice on its own. It holds to its own deadline, sized to what it was given. It is called
// by one goroutine at a time and must not keep the entries.
type Sink interface {
	// Put delivers the entries, each a byte string that the destination keeps in one piece. With a nil error every entry
	// that is not named in failed has been taken for good. With an error none has, as far as anybody can tell.
	Put(ctx context.Context, entries [][]byte) (failed []Failure, err error)

	// String names the destination for people, as in "Firehose stream gps-delivery-stream in us-east-1".
	String() string
}

// ByteCounter is what a Sink implements that counts bytes where they leave and enter the machine, all overhead included.
type ByteCounter interface {
	// Bytes returns the bytes sent and received since the sink was made.
	Bytes() (up, down uint64)
}

// Biller is what a Sink implements whose destination charges for each entry by itself.
type Biller interface {
	// Billed returns the bytes that are charged for an entry of n bytes.
	Billed(n int) uint64
}

// IdleCloser is what a Sink implements that keeps connections between calls.
type IdleCloser interface {
	// CloseIdle closes connections that no call is using.
	CloseIdle()
}

// A Failure names one entry of a Put that was not taken while others were.
type Failure struct {
	Index     int    // of the entry in the slice that Put was given
	Code      string // as the destination says it, e.g. ServiceUnavailableException
	Message   string // as the destination says it
	Permanent bool   // the same bytes will never be taken: they are singled out and set aside
}

// Kind says what a failed Put means for what is done next.
type Kind int

// The kinds of failed calls.
const (
	// KindLink is a call that got no usable answer: no route, no name, a deadline, a cut connection, an internal error there.
	KindLink Kind = iota
	// KindThrottled is a destination that asks to be asked less often.
	KindThrottled
	// KindSetup is what only a person can mend: the stream, the credentials, a permission. It is tried again for ever.
	KindSetup
	// KindClock is a call refused because this machine's time is wrong, in the signature or in the certificate check.
	KindClock
	// KindRefused is a call whose content was refused. The entries are divided until the one to blame is found.
	KindRefused
)

// String returns the kind as one word.
func (k Kind) String() string {
	switch k {
	case KindLink:
		return "link"
	case KindThrottled:
		return "throttled"
	case KindSetup:
		return "setup"
	case KindClock:
		return "clock"
	case KindRefused:
		return "refused"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// kindNamed returns the kind that String calls so, KindLink if there is none.
func kindNamed(name string) Kind {
	for k := KindLink; k <= KindRefused; k++ {
		if k.String() == name {
			return k
		}
	}
	return KindLink
}

// Cause names what a failed call needs, more finely than its Kind: a short stable code.
type Cause string

// The causes beside those that are called as their kind: link, throttled, setup, clock and refused.
const (
	CauseStream      Cause = "stream"      // the stream is not there, or cannot take records
	CausePermission  Cause = "permission"  // the credentials may not write to it
	CauseCredentials Cause = "credentials" // there are none, or AWS does not take them
	CauseCertificate Cause = "certificate" // the endpoint's certificate is not trusted
	CauseDirectory   Cause = "directory"   // the directory cannot be written to, or is full
	CauseBuffer      Cause = "buffer"      // the records cannot be read off their disk
)

// Causes lists every cause that Status may tell.
func Causes() []Cause {
	all := []Cause{CauseStream, CausePermission, CauseCredentials, CauseCertificate, CauseDirectory, CauseBuffer}
	for k := KindLink; k <= KindRefused; k++ {
		all = append(all, Cause(k.String()))
	}
	return all
}

// causeOf returns the cause of any error that a Put may return.
func causeOf(err error) Cause {
	if ce, ok := errors.AsType[*CallError](err); ok && ce.Cause != "" {
		return ce.Cause
	}
	return Cause(kindOf(err).String())
}

// A CallError is a failed Put together with what it means. A Sink returns one; an error of any other type counts as KindLink.
type CallError struct {
	Kind   Kind
	Cause  Cause  // empty: called as the kind
	Code   string // as the destination says it; empty where there was no answer
	Advice string // what happened and what to do about it, for people
	Err    error
}

// Error says the advice and then the cause.
func (e *CallError) Error() string {
	switch {
	case e.Err == nil:
		return e.Advice
	case e.Advice == "":
		return e.Err.Error()
	}
	return e.Advice + " (" + e.Err.Error() + ")"
}

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }

// kindOf returns the kind of any error that a Put may return.
func kindOf(err error) Kind {
	if ce, ok := errors.AsType[*CallError](err); ok {
		return ce.Kind
	}
	return KindLink
}

// adviceOf returns the text for people.
func adviceOf(err error) string {
	if ce, ok := errors.AsType[*CallError](err); ok && ce.Advice != "" {
		return ce.Advice
	}
	return err.Error()
}
