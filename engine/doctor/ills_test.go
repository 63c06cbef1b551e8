package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"testing"
	"time"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/trace"
)

type netipAddr = netip.Addr

var errNet = errors.New("netlink does not answer")

func link(p *patient, name string) *Link {
	for i := range p.fake.links {
		if p.fake.links[i].Name == name {
			return &p.fake.links[i]
		}
	}
	p.fake.links = append(p.fake.links, Link{Name: name})
	return &p.fake.links[len(p.fake.links)-1]
}

func refused(subnet, public, reason string) func(*patient) {
	return func(p *patient) {
		p.Refused = append(p.Refused, control.Refused{Subnet: pfx(subnet), Public: ip(public), Backend: "vxlan", Reason: reason})
	}
}

func skewed(seconds float64) func(*patient) {
	return func(p *patient) { p.Store.ClockSkew = &seconds }
}

var nodeIlls = []illness{
	{"none", noDaemon, "daemon", control.Fail, "weft does not run here, or its socket is elsewhere...no socket...weft up"},
	{"closed", func(p *patient) { p.Engine.Open, p.Causes = false, []string{"/dev/net/tun: gone"} }, "daemon", control.Fail, "carries no packets...gone"},
	{"down", func(p *patient) { p.Health, p.Causes = control.Down, []string{"no lease"} }, "daemon", control.Fail, "down...no lease"},
	{"degraded", func(p *patient) { p.Health = control.Degraded }, "daemon", control.Warn, "degraded...does not say why"},
	{"off", func(p *patient) { p.Engine.Off = []string{"uso", "new"} }, "offload", control.Info, "not in use: uso, new...Linux before 6.2"},
	{"gone", func(p *patient) { p.Node.Iface = "eth7" }, "iface", control.Fail, "no interface eth7"},
	{"down", func(p *patient) { link(p, "eth0").Up = false }, "iface", control.Fail, "ip link set eth0 up"},
	{"other MTU", func(p *patient) { link(p, "eth0").MTU = 1400 }, "iface", control.Warn, "1400 now and was 1500"},
	{"others are seen", func(*patient) {}, "iface", control.Pass, "eth0 192.0.2.11: default route. Also seen: eth1"},
	{"hidden", func(p *patient) { p.linksErr = errNet }, "iface", control.Skip, "netlink does not answer"},
	{"wireguard", func(p *patient) { p.Node.Nested, p.Node.IfaceMTU = "wireguard", 1420 }, "nested", control.Info, "eth0 is itself a tunnel (wireguard) of MTU 1420"},
	{"with too large a MTU", func(p *patient) { link(p, "eth0").Kind = "gre" }, "nested", control.Warn, "(gre), yet has MTU 1500"},
	{"on two links", func(p *patient) { link(p, "eth1").Addrs = addrs("192.0.2.11/24") }, "address", control.Warn, "192.0.2.11 is on several interfaces: eth0, eth1"},
	{"on another host", func(p *patient) { p.mac = "02:00:00:00:00:99" }, "address", control.Fail, "the host with MAC 02:00:00:00:00:99"},
	{"found by the kernel", func(p *patient) {
		p.Node.Public6 = ip("2001:db8::1")
		link(p, "eth0").Addrs = []Address{{pfx("2001:db8::1/64"), true}}
	}, "address", control.Fail, "2001:db8::1 on eth0 belongs to another host"},
	{"of the tunnel", func(p *patient) { link(p, "eth1").Addrs = addrs("10.244.1.0/32") }, "address", control.Fail, "ip address del 10.244.1.0 dev eth1"},
	{"others not asked", func(p *patient) { p.macErr = fs.ErrPermission }, "address", control.Info, "not asked: that needs NET_RAW"},
	{"IPv6 not asked", func(p *patient) { p.Node.Public6 = ip("2001:db8::1") }, "address", control.Info, "no neighbour has 192.0.2.11; for IPv6 other hosts were not asked"},
	{"behind NAT", func(p *patient) { p.Node.Public = ip("203.0.113.5") }, "address", control.Info, "other hosts were not asked: no interface"},
	{"nobody told", func(p *patient) { p.Peers[0].Observed = netip.AddrPort{} }, "nat", control.Info, "no peer has told"},
	{"hidden", func(p *patient) { p.linksErr = errNet }, "address", control.Skip, "netlink"},
	{"translated", func(p *patient) { p.Node.Public = ip("203.0.113.5"); p.Peers[0].Observed = at("203.0.113.5:8472") }, "nat", control.Info, "no interface has 203.0.113.5...1 peer confirmed it"},
	{"not ours", func(p *patient) {
		p.Node.Public = ip("203.0.113.5")
		p.Peers[0].Observed = at("[::]:0")
		p.Peers[0].Observed = netip.AddrPort{}
	}, "nat", control.Info, "no interface has 203.0.113.5"},
	{"seen as another", func(p *patient) { p.Peers[0].Observed = at("203.0.113.5:61000") }, "nat", control.Warn, "n2 sees this node as 203.0.113.5:61000...--public-ip=203.0.113.5"},
	{"taken", func(p *patient) {
		p.fake.sockets = append(p.fake.sockets, Socket{Local: at("0.0.0.0:8472"), PID: 5, Command: "nebula"})
	}, "port-bound", control.Warn, "nebula (pid 5) has udp 0.0.0.0:8472"},
	{"kernel vxlan", func(p *patient) {
		p.fake.links = append(p.fake.links, Link{Name: "vx", Kind: "vxlan", Up: true, Port: 8472})
	}, "port-bound", control.Warn, "vx holds udp port 8472...ip link del vx"},
	{"flanneld", func(p *patient) { p.flanneld = []int{77, 78} }, "port-bound", control.Warn, "another flanneld runs, pid 78"},
	{"no daemon here", noDaemon, "port-bound", control.Info, "weft (pid 77) has udp 192.0.2.11:8472"},
	{"hidden", func(p *patient) { p.sockErr = fs.ErrPermission }, "port-bound", control.Skip, "permission"},
	{"half hidden", func(p *patient) { p.procErr = fs.ErrPermission }, "port-bound", control.Skip, "permission"},
	{"in the way", func(p *patient) {
		p.fake.links = append(p.fake.links, Link{Name: "flannel.1", Kind: "vxlan"})
		p.fake.routes = append(p.fake.routes, Route{Dst: pfx("10.244.2.0/24"), Link: "flannel.1", Via: ip("10.244.2.0")})
	}, "leftovers", control.Fail, "flannel.1 (vxlan) is there, with 1 route...ip link del flannel.1"},
	{"idle", func(p *patient) { p.fake.links = append(p.fake.links, Link{Name: "flannel-wg", Kind: "wireguard"}) }, "leftovers", control.Warn, "flannel-wg"},
	{"no daemon", noDaemon, "leftovers", control.Info, "a process holds it"},
	{"hidden", func(p *patient) { p.routesErr = errNet }, "leftovers", control.Skip, "netlink"},
	{"astray", func(p *patient) {
		p.fake.routes = append(p.fake.routes, Route{Dst: pfx("10.244.2.0/25"), Link: "eth1"})
	}, "routes", control.Fail,
		"10.244.2.0/25 leads to eth1 and not to flannel0...ip route del 10.244.2.0/25 dev eth1"},
	{"the whole network", func(p *patient) {
		p.fake.routes = append(p.fake.routes, Route{Dst: pfx("10.244.0.0/16"), Link: "eth1"})
	}, "routes", control.Fail, "10.244.0.0/16 leads to eth1"},
	{"direct", func(p *patient) {
		p.fake.routes = append(p.fake.routes, Route{Dst: pfx("10.244.2.0/24"), Link: "eth0", Via: ip("192.0.2.12")})
		p.Peers[0].Via = "direct"
	}, "routes", control.Pass, "sends 1 subnet to flannel0"},
	{"gone", func(p *patient) { p.fake.routes = p.fake.routes[1:3] }, "routes", control.Fail, "no way to 10.244.2.0/24"},
	{"policy routing", func(p *patient) { p.ways = map[netip.Addr]Route{ip("10.244.3.1"): {Link: "eth1"}} }, "routes", control.Fail, "sends 10.244.3.0/24 to eth1...ip rule"},
	{"missing", file(DefaultSubnetFile, ""), "subnet.env", control.Fail, "is missing"},
	{"differs", func(p *patient) { p.Node.MTU, p.Node.Subnet = 1400, pfx("10.244.7.0/24") }, "subnet.env", control.Fail,
		"FLANNEL_SUBNET is 10.244.1.0/24, the node has 10.244.7.0/24; FLANNEL_MTU is 1450, the node has 1400"},
	{"nonsense", file(DefaultSubnetFile, "FLANNEL_SUBNET=x"), "subnet.env", control.Fail, "cannot be read"},
	{"hidden", unreadable(DefaultSubnetFile), "subnet.env", control.Skip, "permission"},
	{"no daemon", noDaemon, "subnet.env", control.Info, "10.244.1.0/24, MTU 1450"},
	{"elsewhere", func(p *patient) { p.Node.SubnetFile = "/run/x/subnet.env" }, "subnet.env", control.Fail, "/run/x/subnet.env is missing"},
	{"other subnet", func(p *patient) { link(p, "cni0").Addrs = addrs("10.244.9.1/24") }, "bridge", control.Fail, "cni0 has 10.244.9.1/24, the lease says 10.244.1.0/24...ip link del cni0"},
	{"too large", func(p *patient) { link(p, "cni0").MTU = 1500 }, "bridge", control.Warn, "ip link set cni0 mtu 1450"},
	{"docker alone", func(p *patient) {
		p.fake.links = append(p.fake.links, Link{Name: "docker0", Kind: "bridge", MTU: 1500, Addrs: addrs("172.17.0.1/16")})
	}, "bridge", control.Info, "docker-opts"},
	{"none", func(p *patient) { p.fake.links = p.fake.links[:4] }, "bridge", control.Skip, "no bridge of pods yet"},
	{"nothing known", both(noDaemon, file(DefaultSubnetFile, "")), "bridge", control.Skip, "neither a daemon"},
}

var clusterIlls = []illness{
	{"away", func(p *patient) {
		p.Store.Connected, p.Store.Error, p.Store.Contact = false, "context deadline exceeded", now.Add(-12*time.Minute)
	}, "store", control.Warn,
		"last contact 12m0s ago...does not answer...context deadline exceeded; packets go on"},
	{"never", func(p *patient) { p.Store.Connected, p.Store.Contact = false, time.Time{} }, "store", control.Fail, "never answered"},
	{"quiet", func(p *patient) { p.Store.Contact = now.Add(-time.Hour) }, "store", control.Warn, "nothing was heard"},
	{"a day behind", skewed(86400), "clock-skew", control.Fail, "this clock is 1d0h behind the store's...chronyc"},
	{"seconds ahead", skewed(-8), "clock-skew", control.Warn, "8s ahead of"},
	{"not told", func(p *patient) { p.Store.ClockSkew = nil }, "clock-skew", control.Skip, "does not tell its time"},
	{"expired", func(p *patient) { p.Store.Expires = now.Add(-time.Minute) }, "lease", control.Fail, "expired 1m0s ago"},
	{"not renewed", func(p *patient) { p.Store.Expires, p.Store.Error = now.Add(10*time.Minute), "no leader" }, "lease", control.Warn, "expires in 10m0s...no leader"},
	{"none", func(p *patient) { p.Node.Subnet = netip.Prefix{} }, "lease", control.Fail, "holds no lease"},
	{"two peers", func(p *patient) { p.Peers[0].Public, p.Peers[1].Public = ip("10.0.2.15"), ip("10.0.2.15") }, "dup-public-ip", control.Fail,
		"10.0.2.15 is named by 2 leases: n2 10.244.2.0/24, n3 10.244.3.0/24...--iface"},
	{"one lease", func(p *patient) {
		p.Store.Rival = "another process with the public address 192.0.2.11 writes the lease"
	}, "dup-public-ip", control.Fail, "another process with the public address 192.0.2.11 writes the lease...their pods have the same addresses...--public-ip"},
	{"ours", refused("10.244.8.0/24", "192.0.2.11", "PublicIP: 192.0.2.11 is this node's own"), "dup-public-ip", control.Fail, "192.0.2.11 is named by 2 leases: n1, 10.244.8.0/24"},
	{"ours", refused("10.244.1.0/25", "192.0.2.99", "10.244.1.0/25 overlaps this node's own 10.244.1.0/24"), "dup-subnet", control.Fail, "192.0.2.99"},
	{"others'", refused("10.244.2.0/24", "192.0.2.99", "it overlaps 10.244.2.0/24, which another node holds"), "dup-subnet", control.Warn, "this lease is not used"},
	{"backend", refused("10.244.4.0/24", "192.0.2.14", `BackendType: "ipip" does not talk to "vxlan"`), "refused", control.Warn, "ipip"},
	{"alone", func(p *patient) { p.Peers, p.Store.Leases = nil, 1 }, "peers", control.Info, "no other node"},
	{"none of them usable", func(p *patient) { p.Peers = nil }, "peers", control.Warn, "store holds 3 leases"},
	{"all down", func(p *patient) { p.Peers[0].State, p.Peers[1].State = control.PeerDown, control.PeerUnusable }, "peers", control.Fail, "1 down, 1 unusable...this node is at fault"},
	{"one down", func(p *patient) { p.Peers[1].State = control.PeerDown }, "peers", control.Warn, "2 peers: 1 ok, 1 down...not all peers answer"},
	{"one silent", func(p *patient) { p.Peers[1].State = control.PeerSilent }, "peers", control.Warn, "1 ok, 1 silent"},
	{"kernel", func(p *patient) { p.Peers[1].Weft = "" }, "checksum-offload", control.Info, "on n3"},
	{"fresh", drop(encap.TunFull, 312, now.Add(-time.Minute)), "drops", control.Warn, "tun_full 312 in, last 1m0s ago...the meaning...the hint"},
	{"not in the recorder", drop(encap.SockRecvFull, 4, time.Time{}), "drops", control.Warn, "sock_recv_full 4 in | the meaning"},
	{"old", drop(encap.TunFull, 312, now.Add(-time.Hour)), "drops", control.Info, "tun_full 312 in, last 1h0m ago"},
	{"harmless", drop(encap.Multicast, 9, now), "drops", control.Info, "multicast 9 in"},
	{"many", func(p *patient) {
		for d := encap.OuterSrcUnknown; d < encap.OuterSrcUnknown+7; d++ {
			drop(d, 1, now)(p)
		}
	}, "drops", control.Info, "2 more reasons: weft drops"},
	{"another", both(drop(encap.VXLANVNI, 5, now), func(p *patient) {
		p.Subject.Drops = []trace.Record{record(encap.VXLANVNI, "192.0.2.13:40000", "10.244.3.5", 7)}
	}), "wrong-vni", control.Warn, "5 packets came with a VNI that is not 1: VNI 7 from 192.0.2.13...Backend.VNI"},
	{"long ago", drop(encap.VXLANVNI, 5, now.Add(-time.Hour)), "wrong-vni", control.Info, "the last 1h0m ago"},
	{"forged", both(drop(encap.InnerSrcNotLeased, 1, now), func(p *patient) {
		p.Subject.Drops = []trace.Record{record(encap.InnerSrcNotLeased, "192.0.2.13:8472", "10.244.2.50", 1)}
	}), "spoof", control.Warn, "1 packet had a source that is not in their sender's lease: 10.244.2.50 from 192.0.2.13"},
	{"stranger", both(drop(encap.OuterSrcUnknown, 301, now), func(p *patient) {
		p.Subject.Drops = []trace.Record{record(encap.OuterSrcUnknown, "203.0.113.9:8285", "10.244.9.9", 0)}
	}), "stranger", control.Warn, "301 packets came from hosts that hold no lease: 203.0.113.9"},
}

func down(p *patient) {
	p.Peers[0].State, p.probe.Small, p.probe.Large = control.PeerDown, Silent, Silent
}

func sealed(answers bool, handshake time.Time) func(*patient) {
	return func(p *patient) {
		p.Peers[0].Via, p.Peers[0].Answers, p.Peers[0].Handshake = "wireguard", &answers, handshake
	}
}

var peerIlls = []illness{
	{"down", down, "peer", control.Fail, "down  via vxlan  rtt 0.6 ms  echo ✗  large ✗  underlay ✓  random ✓  vxlan-shaped ✓  pmtu 1500"},
	{"new", func(p *patient) { p.Peers[0].State = control.PeerNew }, "peer", control.Info, "new"},
	{"not asked", func(p *patient) {}, "peer", control.Pass, "ok  via vxlan  rtt 0.6 ms  pmtu –  (not asked)"},
	{"host down", both(down, func(p *patient) { p.probe.Underlay = Silent }), "peer-state", control.Fail, "the host does not answer...ping 192.0.2.12"},
	{"tunnel down", down, "peer-state", control.Fail, "the host answers, the tunnel does not...datagrams to 192.0.2.12:8472...udp port 8472"},
	{"nothing known", both(down, func(p *patient) { p.probe = PeerProbe{} }), "peer-state", control.Fail, "neither answers nor sends...weft ping n2"},
	{"back", func(p *patient) { p.Peers[0].State = control.PeerDown }, "peer-state", control.Info, "answers now"},
	{"silent", func(p *patient) { p.Peers[0].State, p.probe.Small = control.PeerSilent, Silent }, "peer-state", control.Warn, "it sends, but does not answer"},
	{"not reached", both(func(p *patient) { p.Peers[0].State = control.PeerSilent }, func(p *patient) { p.probe.Small, p.probe.Random, p.probe.VXLAN = Silent, Silent, Silent }),
		"peer-state", control.Fail, "nothing that is sent to it is answered...firewall...udp port 8472...port-policy"},
	{"gone just now", func(p *patient) { p.probe.Small = Silent }, "peer-state", control.Warn, "not answer echoes now"},
	{"left behind", both(down, func(p *patient) {
		p.Peers[1].Public, p.Peers[1].Public6, p.Peers[1].Echoed = p.Peers[0].Public, p.Peers[0].Public6, 5
	}), "peer-state", control.Fail, "nobody answers for it, though 192.0.2.12 answers for another lease, 10.244.3.0/24...delete the lease 10.244.2.0/24"},
	{"dropped here", both(down, func(p *patient) {
		p.Subject.Drops = []trace.Record{record(encap.VXLANVNI, "192.0.2.12:40000", "10.244.2.5", 7)}
		p.Subject.Drops[0].Time = now.Add(-time.Minute).UnixNano()
	}), "peer-state", control.Fail, "what it sends is dropped here: vxlan_vni_not_found (VNI 7)"},
	{"was dropped here", both(down, func(p *patient) {
		p.Subject.Drops = []trace.Record{record(encap.VXLANVNI, "192.0.2.12:40000", "10.244.2.5", 7)}
		p.Subject.Drops[0].Time = now.Add(-time.Hour).UnixNano()
	}), "peer-state", control.Fail, "the host answers, the tunnel does not"},
	{"unusable", func(p *patient) { p.Peers[0].State, p.Peers[0].Reason = control.PeerUnusable, "no VtepMAC" }, "peer-state", control.Fail, "nothing can be sent...no VtepMAC"},
	{"eaten", func(p *patient) { p.probe.VXLAN = Silent }, "peer-vxlan", control.Fail, "look like VXLAN do not...NSX...8473"},
	{"black hole", func(p *patient) { p.probe.Large = Silent }, "peer-mtu", control.Fail, "those of 1450 bytes do not...black hole...weft ping n2 --sweep"},
	{"held", func(p *patient) { p.Peers[0].MTU, p.probe.Large = 1350, Silent }, "peer-mtu", control.Warn, "those of 1450 bytes do not...held to 1350...black hole"},
	{"narrow", func(p *patient) { p.Peers[0].MTU = 1350 }, "peer-mtu", control.Info, "may have 1350 bytes"},
	{"never", sealed(false, time.Time{}), "peer-handshake", control.Fail, "never answered a handshake...PSK"},
	{"no more", sealed(false, now.Add(-5*time.Minute-12*time.Second)), "peer-handshake", control.Fail, "the last is 5m12s old"},
	{"idle", both(sealed(true, now.Add(-time.Hour)), func(p *patient) { p.Peers[0].Sent.Packets, p.Peers[0].Heard = 1, now.Add(-time.Hour) }), "peer-handshake", control.Info, "1h0m old"},
	{"another source", func(p *patient) {
		p.Subject.Drops = []trace.Record{record(encap.OuterSrcUnknown, "192.0.2.99:8472", "10.244.2.7", 1)}
	}, "peer-source", control.Fail, "its packets come from 192.0.2.99, its lease says 192.0.2.12"},
	{"expired", func(p *patient) { p.Peers[0].Expires = now.Add(-2 * time.Hour) }, "peer-lease", control.Warn, "expired 2h0m ago and is still there"},
	{"by another interface", func(p *patient) { p.ways = map[netip.Addr]Route{ip("192.0.2.12"): {Link: "eth1"}} }, "peer-route", control.Warn, "reaches 192.0.2.12 by eth1...--iface=eth1"},
	{"this host's own", func(p *patient) {
		p.links = append(p.links, Link{Name: "nat0", Up: true, Addrs: []Address{{Prefix: netip.MustParsePrefix("192.0.2.12/24")}}})
	},
		"peer-route", control.Fail, "192.0.2.12 is this host's own, on nat0...10.0.2.15...--public-ip"},
	{"through the tunnel", func(p *patient) { p.ways = map[netip.Addr]Route{ip("192.0.2.12"): {Link: "flannel0"}} }, "peer-route", control.Fail, "the tunnel itself"},
	{"no route", func(p *patient) { p.fake.routes = p.fake.routes[3:] }, "peer-route", control.Fail, "no route to 192.0.2.12"},
}

// Two peers that would be called the same go by their subnets, by which weft ping
// and weft status know them too.
func TestNamesakes(t *testing.T) {
	p := newPatient()
	for i := range p.Peers {
		p.Peers[i].Name, p.Peers[i].Public = "", ip("192.0.2.12")
	}
	names := map[string]bool{}
	for _, c := range p.run(t.Context()).Checks {
		if c.ID == "peer" {
			names[c.Peer] = true
		}
	}
	if len(names) != 2 || !names["10.244.2.0/24"] || !names["10.244.3.0/24"] {
		t.Errorf("the peers are called %v, want their subnets", names)
	}
}
