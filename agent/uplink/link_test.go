package uplink_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"obdagent/agent/agenttest"
	"obdagent/agent/uplink"
)

// In a network of its own, as a modem gives a van a new address: the change is told of, also that of an address within the same
// network; and nothing is told while nothing changes.
func TestANewAddressIsAChangeOfTheLink(t *testing.T) {
	t.Parallel()
	changed := make(chan struct{}, 100)
	control := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its network
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			control <- -1
			done <- err
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			control <- -1
			done <- err
			return
		}
		control <- fd // belongs to that network, whoever uses it
		done <- uplink.WatchLink(ctx, func() { changed <- struct{}{} })
	}()
	fd := <-control
	if fd < 0 {
		agenttest.Missing(t, "netns", "a network of its own is root's: "+(<-done).Error())
	}
	defer unix.Close(fd)
	set := func(ip string) {
		t.Helper()
		r, err := unix.NewIfreq("lo")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SetInet4Addr(net.ParseIP(ip).To4()); err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, r); err != nil {
			t.Fatal(err)
		}
	}
	// What is set before it listens is not news: so it is changed until it is heard. Each change takes a second of quiet.
	heard := false
	for i := 1; i <= 20 && !heard; i++ {
		set(fmt.Sprintf("10.64.0.%d", i))
		select {
		case <-changed:
			heard = true
		case <-time.After(5 * time.Second):
		}
	}
	if !heard {
		t.Error("a new address was not noticed")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
