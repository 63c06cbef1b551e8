// Package status is `weft status`: how a node does, on one screen.
//
// # Theory of operation
//
// The node says everything about itself in one control.Status. What is shown is
// computed from that alone, ages from the node's own clock, so the same answer
// gives the same screen wherever and whenever it is drawn:
//
//	node    n1  10.244.1.0/24  public 192.0.2.11  eth0 mtu 1500 (default route)  up 3d2h …
//	state   degraded: no answer from nas
//	engine  vxlan flannel0 mtu 1450  with gso gro mmsg  …
//	leases  etcd https://10.0.0.1:2379 connected, 12 leases, own expires in 23h2m …
//	drops   312: outer_src_unknown 301, ttl_exceeded 9, tun_full 2   ← weft drops
//
//	PEER  SUBNET         ENDPOINT         VIA    STATE  RTT    LOSS  MTU   RX/TX    LAST RX
//	n2    10.244.2.0/24  192.0.2.12:8472  vxlan  ok     0.6ms  0%    1450  91G/12G  now
//
// With --watch the difference of two answers gives rates.
//
// Names and reasons in an answer may come from the lease store, to which others
// write; unprintable characters never reach the terminal.
package status
