package filter

import "slices"

// ownWords are those that pcap-filter does not have, or has with another meaning.
var ownWords = []string{"inner", "outer", "peer", "lease", "dir", "vni", "drop"}

// Words returns the words that weft adds to pcap-filter's language.
func Words() []string { return slices.Clone(ownWords) }

// keywords are pcap-filter's words with a part in its grammar.
var keywords = []string{
	"and", "or", "src", "dst", "host", "net", "mask", "port", "portrange",
	"proto", "protochain", "less", "greater", "byte", "len", "length",
	"broadcast", "multicast", "inbound", "outbound",
}

// protocols are the words that qualify a primitive, are one by themselves or
// stand before an index.
var protocols = map[string]protocol{
	"ip":    {family: 4, indexed: true},
	"ip6":   {family: 6, indexed: true},
	"tcp":   {number: 6, family: 0, indexed: true, ports: true},
	"udp":   {number: 17, family: 0, indexed: true, ports: true},
	"sctp":  {number: 132, family: 0, indexed: true, ports: true},
	"icmp":  {number: 1, family: 4, indexed: true},
	"igmp":  {number: 2, family: 4, indexed: true},
	"igrp":  {number: 9, family: 4, indexed: true},
	"vrrp":  {number: 112, family: 4, indexed: true},
	"carp":  {number: 112, family: 4, indexed: true},
	"icmp6": {number: 58, family: 6, indexed: true},
	"pim":   {number: 103, family: 0, indexed: true},
	"ah":    {number: 51, family: 0},
	"esp":   {number: 50, family: 0},

	// The link layer. A tunnel's packets have none, so that an index begins
	// where the IP header does.
	"link": link, "ether": link, "ppp": link, "slip": link, "fddi": link, "tr": link, "wlan": link,

	// Never carried by a tunnel: these match nothing.
	"arp": {never: true, indexed: true}, "rarp": {never: true, indexed: true},
	"atalk": {never: true, indexed: true}, "decnet": {never: true, indexed: true},
	"sca": {never: true, indexed: true}, "lat": {never: true, indexed: true},
	"moprc": {never: true, indexed: true}, "mopdl": {never: true, indexed: true},
	"aarp": never, "iso": never, "stp": never, "ipx": never, "netbeui": never,
	"esis": never, "es-is": never, "isis": never, "is-is": never, "clnp": never,
	"l1": never, "l2": never, "iih": never, "lsp": never, "snp": never, "csnp": never, "psnp": never,
}

var (
	link  = protocol{link: true, indexed: true}
	never = protocol{never: true}
)

// A protocol is what one of the words in protocols stands for.
type protocol struct {
	number  uint32 // in the IP header; 0 for the words ip and ip6 themselves
	family  uint8  // 4 or 6 if only that carries it, else 0
	ports   bool   // may qualify a port
	indexed bool   // may stand before an index
	link    bool   // the link layer
	never   bool   // not carried by a tunnel
}

// refused are pcap-filter's words that make no sense here, and why.
var refused = map[string]string{
	"gateway":     "a gateway is a link-layer address, and tunnels carry none",
	"vlan":        noLink,
	"mpls":        noLink,
	"pppoed":      noLink,
	"pppoes":      noLink,
	"llc":         noLink,
	"geneve":      "headers of other tunnels are not taken off; use an index, as in udp[8:4]",
	"vxlan":       "say vni NUMBER for the network, or outer udp port PORT for the outer packet",
	"ifindex":     "there is one interface; say peer, lease or dir",
	"ifname":      noPF,
	"on":          noPF,
	"rset":        noPF,
	"ruleset":     noPF,
	"rnr":         noPF,
	"rulenum":     noPF,
	"srnr":        noPF,
	"subrulenum":  noPF,
	"reason":      "say drop REASON",
	"action":      "say drop, or not drop",
	"type":        no80211,
	"subtype":     no80211,
	"direction":   "say dir in, or dir out",
	"address1":    no80211,
	"addr1":       no80211,
	"address2":    no80211,
	"addr2":       no80211,
	"address3":    no80211,
	"addr3":       no80211,
	"address4":    no80211,
	"addr4":       no80211,
	"ra":          no80211,
	"ta":          no80211,
	"radio":       no80211,
	"lane":        noATM,
	"vpi":         noATM,
	"vci":         noATM,
	"metac":       noATM,
	"bcc":         noATM,
	"oam":         noATM,
	"oamf4":       noATM,
	"oamf4ec":     noATM,
	"oamf4sc":     noATM,
	"sc":          noATM,
	"ilmic":       noATM,
	"connectmsg":  noATM,
	"metaconnect": noATM,
}

const (
	noLink  = "a tunnel's packets begin with the IP header, so there is no link layer to look at"
	no80211 = "this is for wireless links only"
	noATM   = "this is for ATM links only"
	noPF    = "this is for packet filter logs only"
)

func isKeyword(s string) bool {
	_, proto := protocols[s]
	return proto || refused[s] != "" || slices.Contains(keywords, s) || slices.Contains(ownWords, s)
}
