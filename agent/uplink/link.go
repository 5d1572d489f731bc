package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// linkSettle is how long addresses must have been quiet: a modem that comes up gets several within a second.
const linkSettle = time.Second

// relinkJitter spreads the first calls after a link came back: a tunnel's end and a depot's Wi-Fi give many vans one at once.
const relinkJitter = 10 * time.Second

// WatchLink calls changed whenever the addresses that this machine can reach others from have changed, until ctx is done. It
// listens to the kernel's rtnetlink messages (rtnetlink(7), RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR).
func WatchLink(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("watching the link: %w", err)
	}
	f := os.NewFile(uintptr(fd), "rtnetlink")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR}); err != nil {
		return fmt.Errorf("watching the link: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()

	before := addresses()
	message := make([]byte, 16<<10) // what is in it does not matter, only that there was one
	pending := false
	for ctx.Err() == nil {
		var deadline time.Time // none
		if pending {
			deadline = time.Now().Add(linkSettle)
		}
		if err := f.SetReadDeadline(deadline); err != nil {
			return fmt.Errorf("watching the link: %w", err)
		}
		if ctx.Err() != nil { // its deadline may have been overwritten
			break
		}
		_, err := f.Read(message)
		switch {
		case err == nil || errors.Is(err, unix.ENOBUFS): // some were missed: that is news as well
			pending = true
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !pending || ctx.Err() != nil {
				continue
			}
			pending = false
			if now := addresses(); !slices.Equal(before, now) {
				before = now
				changed()
			}
		default:
			return fmt.Errorf("watching the link: %w", err)
		}
	}
	return nil
}

// addresses lists what others can be reached from.
func addresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // as good as none; the next message asks again
	}
	var out []string
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		out = append(out, strings.ToLower(n.String()))
	}
	slices.Sort(out)
	return out
}

// LinkChanged says that this machine's addresses have changed: connections of before are of no use, and where the link was
// what failed, the next try comes within ten seconds. It may be called from any goroutine, also while Run is not running.
func (u *Uplink) LinkChanged() {
	u.closeIdle()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.relinked, u.woken = true, true
	if u.cancelWait != nil {
		u.cancelWait()
	}
}

// relink puts the next try forward after a change of the link.
func (u *Uplink) relink() {
	u.mu.Lock()
	relinked := u.relinked
	u.relinked = false
	u.mu.Unlock()
	if !relinked || u.attempt == 0 || u.lastKind != KindLink {
		return
	}
	soon := time.Now().Add(time.Duration(u.o.Rand.Int64N(int64(relinkJitter))))
	if soon.Before(u.nextTry) {
		u.nextTry = soon
		u.update(func(s *Status) { s.NextTry = soon })
	}
}
