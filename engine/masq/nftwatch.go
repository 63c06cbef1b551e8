package masq

import (
	"bytes"
	"context"
	"errors"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watch listens to the kernel's notes about nf_tables. Every note names its
// table, so ours are told from the rest by looking for the name in the bytes:
// kube-proxy may write thousands of rules, and decoding those for nothing
// would cost more than a false alarm, which is one look at our own tables.
func (nftPlace) watch(ctx context.Context) (<-chan struct{}, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.Close)
	events := make(chan struct{}, 1)
	go func() {
		defer close(events)
		defer s.Close()
		for {
			msgs, _, err := s.Receive()
			switch {
			case err == nil && !aboutUs(msgs):
				continue
			case errors.Is(err, unix.ENOBUFS): // notes were lost, ours perhaps
			case err != nil:
				return
			}
			select {
			case events <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return events, nil
}

func aboutUs(msgs []syscall.NetlinkMessage) bool {
	for _, m := range msgs {
		if bytes.Contains(m.Data, []byte("flannel-ipv")) {
			return true
		}
	}
	return false
}
