package filter

import (
	"net"
	"slices"
)

// constants are the numbers that have a name in the language: offsets and values
// of header fields.
var constants = func() map[string]*uint32 {
	all := make(map[string]*uint32)
	for name, n := range map[string]uint32{
		"tcpflags": 13,
		"tcp-fin":  1 << 0, "tcp-syn": 1 << 1, "tcp-rst": 1 << 2, "tcp-push": 1 << 3,
		"tcp-ack": 1 << 4, "tcp-urg": 1 << 5, "tcp-ece": 1 << 6, "tcp-cwr": 1 << 7,

		"icmptype": 0, "icmpcode": 1,
		"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4,
		"icmp-redirect": 5, "icmp-echo": 8, "icmp-routeradvert": 9,
		"icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12,
		"icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15,
		"icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

		"icmp6type": 0, "icmp6code": 1,
		"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2,
		"icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
		"icmp6-echo": 128, "icmp6-echoreply": 129,
		"icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
		"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
		"icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
		"icmp6-neighboradvert": 136, "icmp6-redirect": 137, "icmp6-routerrenum": 138,
		"icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
		"icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
		"icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144,
		"icmp6-homeagentdiscoveryreply": 145, "icmp6-mobileprefixsolicit": 146,
		"icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148,
		"icmp6-certpathadvert": 149, "icmp6-multicastrouteradvert": 151,
		"icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,
	} {
		all[name] = &n
	}
	return all
}()

// ipProtocols are names after "proto" (IANA's registry of protocol numbers).
var ipProtocols = map[string]uint32{
	"icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17,
	"ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47,
	"esp": 50, "ah": 51, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
	"ospf": 89, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108,
	"vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "dccp": 33,
	"mobility-header": 135, "udplite": 136, "mpls-in-ip": 137,
}

// A service is a port with a name. proto is its protocol, or 0 if it may be any.
type service struct {
	port  uint32
	proto uint32
}

const (
	protoSCTP = 132
	protoTCP  = 6
	protoUDP  = 17
	protoFrag = 44
)

// services are the ports whose names are known on every node, be there a file of
// services or not. A name that is registered for TCP alone means TCP alone, as
// in libpcap.
var services = map[string]service{
	"ftp-data": {20, protoTCP}, "ftp": {21, protoTCP}, "ssh": {22, protoTCP},
	"telnet": {23, protoTCP}, "smtp": {25, protoTCP}, "time": {37, 0},
	"domain": {53, 0}, "bootps": {67, protoUDP}, "bootpc": {68, protoUDP},
	"tftp": {69, protoUDP}, "http": {80, protoTCP}, "kerberos": {88, 0},
	"pop3": {110, protoTCP}, "sunrpc": {111, 0}, "ntp": {123, protoUDP},
	"netbios-ns": {137, protoUDP}, "netbios-dgm": {138, protoUDP},
	"netbios-ssn": {139, protoTCP}, "imap2": {143, protoTCP},
	"snmp": {161, 0}, "snmp-trap": {162, 0}, "bgp": {179, protoTCP},
	"ldap": {389, 0}, "https": {443, 0}, "microsoft-ds": {445, protoTCP},
	"isakmp": {500, protoUDP}, "syslog": {514, protoUDP}, "printer": {515, protoTCP},
	"submission": {587, protoTCP}, "ldaps": {636, 0}, "domain-s": {853, 0},
	"imaps": {993, protoTCP}, "pop3s": {995, protoTCP}, "openvpn": {1194, 0},
	"nfs": {2049, 0}, "mysql": {3306, protoTCP}, "ipsec-nat-t": {4500, protoUDP},
	"sip": {5060, 0}, "mdns": {5353, protoUDP}, "postgresql": {5432, protoTCP},
}

// lookupService finds a port by name, in services first and then in the
// machine's file of services; it never asks the network.
func lookupService(name string) (service, bool) {
	if s, ok := services[name]; ok {
		return s, true
	}
	tcp, tcpErr := net.LookupPort("tcp", name)
	udp, udpErr := net.LookupPort("udp", name)
	switch {
	case tcpErr == nil && udpErr == nil && tcp == udp:
		return service{uint32(tcp), 0}, true
	case tcpErr == nil:
		return service{uint32(tcp), protoTCP}, true
	case udpErr == nil:
		return service{uint32(udp), protoUDP}, true
	}
	return service{}, false
}

func serviceNames() []string {
	var names []string
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
