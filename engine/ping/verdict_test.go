package ping

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/engine/control"
)

// A state is what became of a layer in a table of verdicts.
type state byte

const (
	absent state = '-' // not asked for
	skip   state = 's'
	fail   state = 'f'
	pass   state = 'p'
	deaf   state = 'd' // of the underlay: ICMP passes, the port is silent
	heard  state = 'h' // of the underlay: ICMP and the port pass
)

// outcomes makes those of the layers from a word like "pfs-".
func outcomes(word string) (all []outcome) {
	for i, l := range layers {
		o := outcome{layer: l}
		icmp, port := &tally{way: &way{name: "icmp"}}, &tally{way: &way{name: "port 8472", port: true}}
		switch s := state(word[i]); s {
		case absent:
			continue
		case skip:
			o.skipped = "there is none"
		case fail:
			o.sent, icmp.sent, o.ways = 3, 3, []*tally{icmp}
		case pass:
			o.sent, o.answered, icmp.sent, icmp.answered, o.ways = 3, 3, 3, 3, []*tally{icmp}
		case deaf, heard:
			o.sent, o.answered, icmp.sent, icmp.answered, port.sent, o.ways = 6, 3, 3, 3, 3, []*tally{icmp, port}
			if s == heard {
				o.answered, port.answered = 6, 3
			}
		}
		all = append(all, o)
	}
	return all
}

func planFor(via, weft string) plan {
	return plan{layers: layers, size: 84, peer: control.Peer{Name: "n2", Via: via, Weft: weft, Subnet: prefix("10.5.2.0/24"),
		Public: addr("192.0.2.12"), Endpoint: netip.MustParseAddrPort("192.0.2.12:8472")}}
}

// combinations lists every combination of states.
func combinations(states [4]string) (all []string) {
	all = []string{""}
	for _, s := range states {
		var longer []string
		for _, w := range all {
			for _, c := range s {
				longer = append(longer, w+string(c))
			}
		}
		all = longer
	}
	return all
}

// Every combination of results has a verdict, which names a layer that failed,
// and the first of those within the tunnel unless nothing passes the tunnel and
// the underlay fails, too.
func TestEveryCombinationHasAVerdict(t *testing.T) {
	seen := map[string]bool{}
	for _, word := range combinations([4]string{"-sfpdh", "-sfp", "-sfp", "-sfp"}) {
		for _, via := range []string{"udp", "vxlan", "wireguard", "direct"} {
			for _, weft := range []string{"", "1.0"} {
				layer, text := judge(planFor(via, weft), outcomes(word))
				seen[text] = true
				if len(text) < 20 || strings.Contains(text, "%!") || strings.Contains(text, "invalid") {
					t.Errorf("%s %s: %q", word, via, text)
				}
				if want := firstOf(word); layer != want {
					t.Errorf("%s %s: layer %q, want %q: %s", word, via, layer, want, text)
				}
				if layer != "" && !strings.Contains(text, layer+" fails: ") {
					t.Errorf("%s %s: the text does not say that %s fails: %s", word, via, layer, text)
				}
				for i, l := range layers {
					if word[i] != 'f' && strings.Contains(text, l+" fails") {
						t.Errorf("%s %s: %s is said to fail: %s", word, via, l, text)
					}
				}
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("only %d different verdicts", len(seen))
	}
}

// firstOf is the rule of the verdict, said in another way.
func firstOf(word string) string {
	inside := strings.IndexByte(word[1:], 'f') + 1
	if word[0] == 'f' && !strings.Contains(word[1:], "p") {
		return "underlay"
	}
	if inside == 0 {
		return ""
	}
	return layers[inside]
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct{ word, via, want string }{
		{"pppp", "vxlan", "underlay, engine, kernel and pod ok: all that was tried passes"},
		{"p---", "vxlan", "underlay ok: all that was tried passes; the tunnel itself was not tried"},
		{"spps", "vxlan", "engine and kernel ok: all that was tried passes"},
		{"ssss", "vxlan", "nothing could be tried: underlay: there is none; engine: there is none; kernel: there is none; pod: there is none"},
		{"fppp", "vxlan", "engine, kernel and pod ok, only underlay gets no answer: the underlay, or the peer's firewall, blocks ICMP echo; " +
			"the tunnel works, so there is nothing to worry about"},
		{"f---", "vxlan", "underlay fails: nothing answers at 192.0.2.12: the host is down, there is no route to it, its lease names a wrong address, " +
			"or a firewall drops everything; many firewalls drop ICMP alone, which --layer engine would show"},
		{"ffff", "vxlan", "underlay fails: nothing answers at 192.0.2.12: the host is down, there is no route to it, its lease names a wrong address, " +
			"or a firewall drops everything"},
		{"pfff", "vxlan", "underlay ok, engine fails: the host answers, so the peer's weft or flanneld is down, a firewall drops UDP port 8472, or the VNI is another there"},
		{"pfff", "wireguard", "underlay ok, engine fails: the host answers, so the peer's weft or flanneld is down, a firewall drops UDP port 8472, or keys or pre-shared keys do not match"},
		{"dfff", "udp", "underlay ok, engine fails: the host answers but its port 8472 does not: the peer's weft is down, or a firewall drops UDP to that port"},
		{"hfff", "vxlan", "underlay ok, engine fails: the peer's port 8472 is reached, so packets are refused there: the VNI is another there, " +
			"it holds no lease of ours, or its kernel drops the echo (device down, INPUT rules); " +
			"or a device on the way drops what looks like VXLAN, which weft doctor tells"},
		{"-f--", "udp", "engine fails: the underlay was not tried, so it may be the way to the peer, or the peer itself: " +
			"the peer's weft or flanneld is down, a firewall drops UDP port 8472, or the backend is another there"},
		{"pfpp", "udp", "underlay, kernel and pod ok, engine fails: the kernel's packets arrive all the same: by a route past the tunnel " +
			"(ip route get 10.5.2.0), or the peer limits ICMP answers"},
		{"ppff", "vxlan", "underlay and engine ok, kernel fails: the tunnel works, so it is the kernel here: OUTPUT or INPUT rules, rp_filter, " +
			"or a route or rule that leads past the tunnel (ip route get 10.5.2.0)"},
		{"ppfp", "vxlan", "underlay, engine and pod ok, kernel fails: pods' packets pass, only the tunnel addresses themselves do not answer: " +
			"OUTPUT and INPUT rules here or INPUT rules there; pods are not harmed"},
		{"psff", "direct", "underlay ok, kernel fails: there is no tunnel to this peer: a route of the kernel leads to it (ip route get 10.5.2.0), " +
			"so its ip_forward and rules, rp_filter, or a network between that drops pods' addresses"},
		{"pppf", "vxlan", "underlay, engine and kernel ok, pod fails: the peer's bridge (10.5.2.1, which is there only while pods are; --to takes a pod's address), " +
			"INPUT rules there, or FORWARD rules, masquerading or rp_filter here"},
	} {
		if _, text := judge(planFor(tc.via, "1.0"), outcomes(tc.word)); text != tc.want {
			t.Errorf("%s %s:\n got %s\nwant %s", tc.word, tc.via, text, tc.want)
		}
	}
}

func TestVerdictSuspectsTheSize(t *testing.T) {
	p := planFor("vxlan", "")
	p.size = 1400
	if _, text := judge(p, outcomes("pfff")); !strings.HasSuffix(text, "; or only packets of 1400 bytes are lost: try without --size, or --sweep") {
		t.Error(text)
	}
	all := outcomes("ppfp")
	all[2].damaged = true
	if _, text := judge(p, all); !strings.Contains(text, "kernel fails: answers come with other bytes") {
		t.Error(text)
	}
}

func TestHoles(t *testing.T) {
	for _, tc := range []struct{ holes, layer string }{
		{"engine", "engine"}, {"kernel pod", "kernel"}, {"underlay engine", "underlay"}, {"underlay", ""}, {"", ""},
	} {
		all := outcomes("pppp")
		for i := range all {
			all[i].largest = 1400
			all[i].hole = slices.Contains(strings.Fields(tc.holes), all[i].layer)
		}
		layer, text := judge(planFor("vxlan", ""), all)
		if layer != tc.layer || strings.Contains(text, "black hole") != (tc.holes != "") {
			t.Errorf("%q: %q %s", tc.holes, layer, text)
		}
		if tc.holes == "underlay" { // alone, it matters
			if layer, _ := judge(planFor("vxlan", ""), all[:1]); layer != "underlay" {
				t.Errorf("the underlay alone: %q", layer)
			}
		}
	}
}
