package filter

// Help describes the language, for people.
const Help = `A filter says which packets are shown. It is written as for tcpdump (see
pcap-filter(7)), and looks at the inner packet, from its IP header on.

  host ADDR            src ADDR     dst host ADDR    src or dst ADDR
  net 10.244.0.0/16    src net fd00::/64
  port 80              tcp dst port 80 or 443        udp portrange 8000-8080
  ip  ip6  tcp  udp  sctp  icmp  icmp6  igmp         ip proto 47, ip6 proto \tcp
  less BYTES           greater BYTES                 len >= 1400
  tcp[tcpflags] & (tcp-syn|tcp-rst) != 0             icmp[icmptype] = icmp-echo
  and or not ( )       && || !

Words before an address or a port hold for those that follow: "host A or B".
"and" and "or" bind alike, from left to right; use parentheses.

Words of weft:
  outer TERM           look at the outer packet: outer IP, UDP and all within;
                       TERM is one primitive, or ( ... )
  inner TERM           look at the inner one again, in outer ( ... )
  peer ADDR            the other node has this address, or holds the pod's
  lease NET            the other node's subnet overlaps NET; an address will do
  dir in, dir out      from the wire, from a pod
  vni NUMBER           the VXLAN network
  drop                 dropped packets
  drop REASON          dropped for this reason, as weft drops names it

Examples:
  peer 192.168.0.12 and tcp port 443
  drop and not drop no_route or multicast
  lease 10.244.3.0/24 and dir out and greater 1400
  outer udp port 8472 and inner icmp
  drop or host 10.244.1.7 and tcp[tcpflags] & tcp-rst != 0

A packet that is too short for a test is not shown, whatever "not" says, so
tests that need no bytes (drop, peer, dir, ...) go first: "drop or tcp port 80".
A filter may need 512 steps, which is room for some hundred hosts or fifty ports.
In the shell, put the filter in single quotes.
`
