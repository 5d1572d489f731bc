package nmeasim

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// interruptible sees to it that a Write to w ends when ctx is done, if w knows deadlines as files and connections do.
// release gives w back as it was, without a deadline.
func interruptible(ctx context.Context, w io.Writer) (release func(), err error) {
	d, ok := w.(interface{ SetWriteDeadline(time.Time) error })
	if !ok || d.SetWriteDeadline(time.Time{}) != nil {
		return func() {}, nil
	}
	if f, ok := w.(*os.File); ok {
		// Whoever opened a pty has asked for its descriptor, which makes it blocking: a Write would have no deadline.
		if err := setNonblock(f); err != nil {
			return nil, fmt.Errorf("make %s interruptible: %w", f.Name(), err)
		}
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = d.SetWriteDeadline(time.Unix(1, 0)) // long past; a closed w needs none
	})
	return func() {
		if !stop() {
			<-fired
			_ = d.SetWriteDeadline(time.Time{})
		}
	}, nil
}

func setNonblock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetNonblock(int(fd), true) }); err != nil {
		return err
	}
	return failed
}
