package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/cmd/weft/lab"
	"weft/engine/control"
)

// The store holds two leases that nobody serves: one that a host left behind
// when it was installed anew and got another subnet, and one of a host that is
// gone. Neither ends by itself: a dump that was put back, or a reservation, has
// no time.
func TestFailureStaleLease(t *testing.T) {
	t.Parallel()
	o := failing(2, "vxlan")
	o.Store = lab.StoreEtcd
	l := newLabUp(t, o)
	n1, n2 := l.Nodes[0], l.Nodes[1]
	c, at := etcdClient(t, l), n2.Underlay.String()
	put(t, c, "10.5.77.0-24", vxlanLease(at, "02:00:00:00:00:77"))
	put(t, c, "10.5.8.0-24", vxlanLease("10.99.0.8", "02:00:00:00:00:08"))

	gone := func(s control.Status) control.Peer { return peerWith(s, "10.5.8.0/24") }
	await(t, "the peer that is gone is down", func() bool { return gone(status(t, n1)).State == control.PeerDown })
	screen(t, n1, "status")
	screen(t, n1, "doctor", "--quiet")
	s, r := status(t, n1), doctor(t, n1)
	says(t, "status of the host that is gone", gone(s).Reason, "it has never answered")
	found(t, finding(t, r, "peer-state", "10.99.0.8"), control.Fail, "the host does not answer, inside or outside the tunnel")
	found(t, finding(t, r, "dup-public-ip", ""), control.Fail, at+" is named by 2 leases", "10.5.2.0/24", "10.5.77.0/24", "left a lease behind")
	found(t, finding(t, r, "peer-state", "10.5.77.0/24"), control.Fail,
		"nobody answers for it, though "+at+" answers for another lease, 10.5.2.0/24", "delete the lease 10.5.77.0/24 from the store")
	if old := peerWith(s, "10.5.77.0/24"); old.State == control.PeerOK || old.Echoed > 0 {
		t.Errorf("the lease that was left behind: %+v, nobody should answer", old)
	}
	if now := peerWith(s, "10.5.2.0/24"); now.State != control.PeerOK {
		t.Errorf("the host's own lease: %+v, want ok", now)
	}

	remove(t, c, "10.5.8.0-24") // nobody has to wait for its answers any more
	await(t, "the peer that is gone is no peer", func() bool { return len(status(t, n2).Peers) == 1 })
	// The host itself refuses the lease that bears its address, and what is sent
	// to it.
	screen(t, n2, "doctor", "--quiet")
	r = doctor(t, n2)
	found(t, finding(t, r, "dup-public-ip", ""), control.Fail, at+" is named by 2 leases", "10.5.77.0/24")
	found(t, finding(t, r, "refused", ""), control.Warn, "10.5.77.0/24", "this node's own")
	refused := drops(t, n2, "vxlan_inner_mac_not_ours")
	if len(refused) == 0 || !strings.Contains(refused[0].Text, "02:00:00:00:00:77") {
		t.Errorf("dropped %+v, want frames for the endpoint of the old lease", refused)
	}

	remove(t, c, "10.5.77.0-24")
	await(t, "the leases are gone", func() bool { return len(status(t, n1).Peers) == 1 })
	found(t, finding(t, doctor(t, n1), "dup-public-ip", ""), control.Pass)
	if s, code := statusCode(t, n1); code != 0 || s.Health != control.OK {
		t.Errorf("without the leases: exit code %d, %s: %q", code, s.Health, s.Causes)
	}
}

// peerWith is the peer with a subnet; zero if there is none.
func peerWith(s control.Status, subnet string) (p control.Peer) {
	if i := slices.IndexFunc(s.Peers, func(p control.Peer) bool { return p.Subnet == netip.MustParsePrefix(subnet) }); i >= 0 {
		p = s.Peers[i]
	}
	return p
}
