package explain

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// load gives a program a ruleset on its standard input, in the test's namespace.
func load(t *testing.T, text, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("needs %s: %v", program, err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}

// nft makes rules the only ones. Blocks end with a line, as nft wants it.
func nft(t *testing.T, rules string) {
	t.Helper()
	load(t, "flush ruleset\n"+strings.NewReplacer("}}", "}\n}\n", "; }", ";\n}\n").Replace(rules), "nft", "-f", "-")
}

func judge(t *testing.T, p Passage) Judgement {
	t.Helper()
	j, err := Host{}.Filter(t.Context(), p)
	must(t, err)
	return j
}

var forwarded = Passage{Src: ip("10.244.1.5"), Dst: ip("10.244.2.7"), Proto: 6, Port: 80, In: "cni0", Out: "flannel0"}

func TestFilter(t *testing.T) {
	host(t)
	const head = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy "
	for _, c := range []struct{ name, rules, verdict, text string }{
		{"nothing", "", "accept", "no chain on the way (prerouting, forward, postrouting)"},
		{"policy accept", head + "accept; }}", "accept", "ip filter FORWARD"},
		{"policy drop", head + "drop; }}", "drop", "ip filter FORWARD: policy drop"},
		{"of the other family", "table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy drop; }}", "accept", ""},
		{"of both families", "table inet fw { chain f { type filter hook forward priority 0; policy drop; }}", "drop", "inet fw f: policy drop"},
		{"at another hook", "table ip filter { chain INPUT { type filter hook input priority 0; policy drop; }}", "accept", ""},
		{"the overlay accepted", head + "drop; ip saddr 10.244.0.0/16 accept; }}", "accept", ""},
		{"another one accepted", head + "drop; ip saddr 10.245.0.0/16 accept; }}", "drop", "policy drop"},
		{"by interfaces", head + `drop; iifname "cni0" oifname "flannel*" counter accept; }}`, "accept", ""},
		{"by another interface", head + `drop; iifname "cni1" accept; }}`, "drop", ""},
		{"not that interface", head + `accept; iifname != "eth0" drop; }}`, "drop", "rule 1 drops it"},
		{"by port", head + "accept; tcp dport 80 reject; }}", "drop", "rule 1 rejects it"},
		{"another port", head + "accept; tcp dport 81 reject; }}", "accept", ""},
		{"another protocol", head + "accept; udp dport 80 drop; }}", "accept", ""},
		{"answers alone", head + "drop; ct state established,related accept; }}", "drop", "policy drop"},
		{"new ones too", head + "drop; ct state new accept; }}", "accept", ""},
		{"jump", "table ip filter { chain pods { ip daddr 10.244.2.7 return; drop; } chain FORWARD { type filter hook forward priority 0; policy accept; jump pods; ip daddr 10.244.2.7 drop; }}", "drop", "FORWARD: rule 2"},
		{"jump that drops", "table ip filter { chain pods { ip daddr 10.244.2.7 drop; } chain FORWARD { type filter hook forward priority 0; policy accept; jump pods; }}", "drop", "pods: rule 1"},
		{"goto does not come back", "table ip filter { chain pods { counter; } chain FORWARD { type filter hook forward priority 0; policy accept; goto pods; drop; }}", "accept", ""},
		{"all chains must accept", head + "accept; accept; }}\ntable ip later { chain f { type filter hook forward priority 10; policy drop; }}", "drop", "ip later f"},
		{"sets are not known", head + "drop; ip saddr { 10.244.1.5, 10.244.9.9 } accept; }}", "unknown", "policy drop, or not: that depends on"},
		{"raw", "table ip raw { chain PREROUTING { type filter hook prerouting priority -300; policy accept; ip daddr 10.244.2.0/24 drop; }}", "drop", "ip raw PREROUTING: rule 1 drops it"},
		{"raw, before the connection", "table ip raw { chain PREROUTING { type filter hook prerouting priority -300; policy accept; ct state new drop; }}", "accept", ""},
		{"raw, before the route", `table ip raw { chain PREROUTING { type filter hook prerouting priority -300; policy accept; oifname "flannel0" drop; }}`, "accept", ""},
		{"raw, unknown", "table ip raw { chain PREROUTING { type filter hook prerouting priority -300; policy accept; fib saddr oif missing drop; }}", "unknown", "PREROUTING: rule 1 drops it, or not"},
		{"mangle", "table ip mangle { chain PREROUTING { type filter hook prerouting priority -150; policy accept; ct state new drop; }}", "drop", "ip mangle PREROUTING"},
		{"on the way out", `table inet q { chain out { type filter hook postrouting priority 300; policy accept; oifname "flannel0" drop; }}`, "drop", "inet q out: rule 1"},
		{"marks are not known", head + "accept; meta mark 0x1 drop; }}", "unknown", "rule 1"},
	} {
		nft(t, c.rules)
		if j := judge(t, forwarded); j.Verdict != c.verdict || !strings.Contains(j.Text, c.text) {
			t.Errorf("%s: %+v, want %s, …%s…", c.name, j, c.verdict, c.text)
		}
	}
	nft(t, head+"drop; ct state established,related accept; }}")
	back := forwarded
	back.Src, back.Dst, back.In, back.Out, back.Reply = back.Dst, back.Src, back.Out, back.In, true
	if j := judge(t, back); j.Verdict != "accept" {
		t.Errorf("an answer: %+v", j)
	}
	nft(t, "table ip raw { chain PREROUTING { type filter hook prerouting priority -300; policy accept; ip saddr 10.244.2.0/24 drop; }}")
	if j := judge(t, back); j.Verdict != "drop" {
		t.Errorf("an answer that raw drops: %+v", j)
	}
	nft(t, "table ip raw { chain in { type filter hook input priority 0; policy drop; }}")
	back.Out = "" // for the host
	if j := judge(t, back); j.Verdict != "drop" {
		t.Errorf("an answer to the host that input drops: %+v", j)
	}
	six := forwarded
	six.Src, six.Dst = ip("fd00:244:1::5"), ip("fd00:244:2::7")
	nft(t, "table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy drop; ip6 daddr fd00:244:2::/64 tcp dport 80 accept; }}")
	if j := judge(t, six); j.Verdict != "accept" {
		t.Errorf("IPv6: %+v", j)
	}
}

// What iptables-nft writes is read as well.
func TestFilterIptables(t *testing.T) {
	host(t)
	load(t, `*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -s 10.245.0.0/16 -m comment --comment "not ours" -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
`, "iptables-nft-restore")
	if j := judge(t, forwarded); j.Verdict != "drop" || !strings.Contains(j.Text, "FORWARD: policy drop") {
		t.Errorf("a new connection: %+v", j)
	}
	back := forwarded
	back.Reply = true
	if j := judge(t, back); j.Verdict != "accept" {
		t.Errorf("an answer: %+v", j)
	}
	load(t, "*filter\n-A FORWARD -d 10.244.0.0/16 -m comment --comment flanneld -j ACCEPT\nCOMMIT\n", "iptables-nft-restore", "--noflush")
	if j := judge(t, forwarded); j.Verdict != "accept" {
		t.Errorf("with a rule for the overlay: %+v", j)
	}
}

// At the output hook the kernel tells its verdict, by EPERM: it must be the one
// that was computed, unless that is "unknown".
func TestFilterAsTheKernel(t *testing.T) {
	host(t)
	const head = "table ip filter { chain pods { ip daddr & 255.255.0.255 == 10.244.0.7 udp dport >= 9 drop; } chain OUTPUT { type filter hook output priority 0; policy "
	verdicts := map[string]int{}
	for _, rules := range []string{
		head + "accept; }}", head + "drop; }}",
		head + "accept; jump pods; }}", head + "accept; ip daddr 10.244.2.0/24 goto pods; drop; }}",
		head + `drop; oifname "flannel0" accept; }}`, head + `drop; oifname "flannel" accept; }}`, head + `drop; oifname "fl*" accept; }}`,
		head + "accept; udp dport 1-10 drop; }}", head + "accept; udp dport < 10 drop; }}", head + "accept; udp dport != 10 drop; }}",
		head + "accept; ip saddr 10.244.1.0 ip protocol udp drop; }}", head + "accept; ip protocol tcp drop; }}",
		head + "drop; ct state new accept; }}", head + "accept; ct state established drop; }}", head + "accept; ct state != new drop; }}",
		"table ip raw { chain OUTPUT { type filter hook output priority -300; policy accept; ct state invalid udp dport 9 drop; }}",
		`table ip mangle { chain POSTROUTING { type filter hook postrouting priority -150; policy accept; oifname "flannel0" udp dport 9 drop; }}`,
		"table ip mangle { chain OUTPUT { type route hook output priority -150; policy accept; udp dport 9 drop; }}",
		"table inet filter { chain OUTPUT { type filter hook output priority 0; policy drop; meta nfproto ipv4 meta l4proto udp accept; }}", head + "accept; ip ttl 1 drop; }}",
		head + "drop; accept; }}\ntable inet last { chain o { type filter hook output priority 5; ip daddr 10.244.2.7 drop; }}",
	} {
		nft(t, rules)
		for _, port := range []uint16{9, 10} {
			for _, dst := range []string{"10.244.2.7", "10.244.2.8"} {
				err := send(t, dst, port)
				j := judge(t, Passage{Src: ip("10.244.1.0"), Dst: ip(dst), Proto: 17, Port: port, Out: "flannel0"})
				verdicts[j.Verdict]++
				if want := map[bool]string{true: "drop", false: "accept"}[errors.Is(err, unix.EPERM)]; j.Verdict != want && j.Verdict != "unknown" {
					t.Errorf("to %s:%d the kernel says %s (%v), we %+v, with\n%s", dst, port, want, err, j, rules)
				}
			}
		}
	}
	if verdicts["unknown"] > 8 || verdicts["accept"] == 0 || verdicts["drop"] == 0 {
		t.Errorf("verdicts %v: too many unknown, or all alike", verdicts)
	}
}

// send sends a datagram from the device's address and returns what the kernel
// says.
func send(t *testing.T, dst string, port uint16) error {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 244, 1, 0)})
	must(t, err)
	defer c.Close()
	_, err = c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(dst), Port: int(port)})
	if err != nil && !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	return err
}
