package filter

import (
	"errors"
	"slices"

	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func helpWords() []string { return strings.Fields(Help) }

// manExamples are of the kinds that pcap-filter(7) and tcpdump(8) give, and
// corners of the language.
var manExamples = []string{
	"host 10.244.1.2", "src host 10.244.1.2", "ip host 10.244.1.2 and not 10.244.2.2",
	"host 10.244.1.2 and (10.244.2.2 or 192.168.0.1)", "net 10.244", "src net 10.244.1.0/24",
	"port 80", "tcp port 21 or 20 or domain", "tcp port ftp or ftp-data or domain",
	"tcp src port 80", "ip proto 6", `ip proto \tcp`, `ip6 proto \udp`, "proto 17",
	"tcp dst port ftp or ftp-data or domain", "tcp src or dst port 80", "src and dst port 53",
	"not host 10.244.1.2 and host 10.244.1.3", "not (host 10.244.1.2 or host 10.244.1.3)",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 10.244.0.0/16",
	"tcp[tcpflags] & (tcp-rst|tcp-ack) == (tcp-rst|tcp-ack)",
	"tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
	"ip[2:2] > 576", "ip[16] >= 224", "ether[0] & 1 = 0 and ip[16] >= 224",
	"icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply",
	"icmp6[icmp6type] = icmp6-echo", "ip[0] & 0xf != 5", "ip[6:2] & 0x1fff = 0",
	"ip6 net fd00::/16", "less 60", "greater 60", "len <= 40", "len > 40 and less 80",
	"arp or rarp", "not arp and tcp", "ip multicast", "ip6 multicast", "ip broadcast",
	"portrange 20-22", "udp portrange 60000-1", "portrange ftp-ssh", "port http", "tcp port https",
	"1 + tcp[0] = 5", "tcp[0] + ip6[6] = 5", "tcp[- 4] = 10", "tcp[ip[0] & 3 : 2] > 80", "ip6[ip[9]] = 0",
	"- 1 ^ 2 = 4294967293", "2 * 3 % 4 = len", "2 % 3 * 4 = len & 1", "1 + 2 ^ 3 | 4 < len", "len >> tcp[12] > 0",
	"len / ip[1] = 0", "not len % ip[1] = 0", "sctp port 80", "net ::/0", "net 0.0.0.0/0", "host 10.244",
	"ip proto 44 or ip6 proto 44", "icmp or icmp6", "ah or esp or pim", "((tcp))", "not not tcp",
	"port (80 or 53)", "port not 80", "(((len))) = (40)", "ip6 or ip", "ether proto 0x86dd",
	"icmp[0] = 8 or 8 = icmp6[0]", "tcp[4294967292] = 10", "ip[4294967295] = 0", "icmp6[4294967295:4] != 0",
	"byte 0 > 80", "byte 0 < 0", "byte 0 > 255", "len > 4294967295", "len >= 0", "ip[0] > 4294967294",
	"tcp[2:2] = 80 && tcp[2:4] & 0xffff0000 = 0x500000", "tcp[0:4] >= 0x500000", "len & 1 = 0", "ip[0] & 0x40 = 1",
}

func TestManAgainstLibpcap(t *testing.T) {
	needTcpdump(t)
	r := rand.New(rand.NewPCG(*seed, 0))
	for _, text := range manExamples {
		known, err := compilesAs(text, 1500, r)
		if !known {
			t.Errorf("libpcap does not compile %q", text)
		}
		if errors.Is(err, errOptimizer) && slices.Contains(wrapping, text) {
			continue
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// wrapping are examples whose offset goes round 2³². The optimizer makes a load
// with a fixed offset of them, which does not.
var wrapping = []string{"tcp[- 4] = 10", "tcp[4294967292] = 10"}

// What of the tables comes from libpcap and the system's files is what tcpdump
// has from there, as far as the system knows the name.
func TestNamesAgainstLibpcap(t *testing.T) {
	needTcpdump(t)
	r := rand.New(rand.NewPCG(*seed, 1))
	known := 0
	check := func(text string, number uint32) {
		ok, err := compilesAs(text, 60, r)
		if err != nil {
			t.Errorf("%d: %v", number, err)
		}
		if ok {
			known++
		}
	}
	for name, s := range services {
		check("portrange "+name+"-"+name, s.port)
	}
	for name, n := range ipProtocols {
		check(`proto \`+name, n)
	}
	if known == 0 {
		t.Error("tcpdump knows none of the names")
	}
	var all []string
	for name, n := range constants {
		// One expression for all of them: each name is its number.
		all = append(all, name+" = "+strconv.FormatUint(uint64(*n), 10))
	}
	if ok, err := compilesAs(strings.Join(all, " and "), 20, r); !ok || err != nil {
		t.Error(ok, err)
	}
	ref, err := libpcap(strings.Join(all, " and "), false)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := ref.match([]byte{0}, 1); !ok || err != nil {
		t.Error("one of the constants is not libpcap's", err)
	}
}

// Words and forms that libpcap refuses for raw IP are not taken for something else.
func TestRefusedAsLibpcap(t *testing.T) {
	needTcpdump(t)
	for _, text := range []string{
		"10.244.1.2", "tcp 80", "ip 10.244.1.2", "host", "port", "tcp host 10.244.1.2", "ip host ::1",
		"ip6 host 10.244.1.2", "ip net ::/0", "src 10.0.0.0/8", "host ::/0", "net 10.1.1.1/8", "net 10.0.0.0/33",
		"net fd00::1/64", "port 65536", "icmp port 80", "src proto 6", "tcp proto 6", "broadcast", "multicast",
		"vlan", "mpls", "ether host 00:11:22:33:44:55", "host 00:11:22:33:44:55", "gateway 10.1.1.1", "llc",
		"ifname eth0", "wlan type mgt", "radio[0] = 1", "ah[0] = 1", "ip[0:3] = 1", "ip[0", "ip[] = 1", "tcp[1]",
		"len", "len =", "5 = ", "1 / 0 = 1", "1 % 0 = 1", "1 << 32 = 1", "(tcp", "tcp)", "()", "tcp and", "and tcp",
		"or", "not", "tcp tcp", "tcp or 80", "(port 80) and (90", "host 256.1.1.1", "less", "less x", "less 08",
		"less 4294967296", "port 80 and len > 4 or 90", "tcp & udp", "host 10.1.1.1 mask 255.0.0.0", "link",
		"mask 1.2.3.4", "_", "tcp;", "ip proto", `ip proto \nosuch`, "port nosuchport", "len-4 > 3", "$5", "ip ip6",
		"tcp portrange x-y", "host not", "port 80 or or 90", "lane", "vpi 1", "oam", "reason match",
	} {
		if _, err := libpcap(text, false); err == nil {
			t.Errorf("libpcap compiles %q", text)
		}
		if _, err := Compile(text); err == nil {
			t.Errorf("%q compiles", text)
		}
	}
}
