// Package trace is `weft trace` and `weft drops`: it asks a node for records of
// packets and shows them, as lines, stanzas, JSON, sums over ways, or a capture
// that Wireshark reads.
//
// # Theory of operation
//
// The node sends a stream of records and formats nothing; see package
// weft/engine/trace. All that a person or a program sees is made here:
//
//	                            ┌─► lines      one per packet (the default)
//	                            ├─► stanzas    one per packet, a line per stage (-v)
//	node ─► socket ─► pump ─► sink ─► objects  JSON, one per line (--json)
//	                            ├─► paths      sums of each distinct way
//	                            ├─► table      `weft drops`
//	                            └─► capture    pcapng: -w, --wireshark, extcap
//
// What comes from the node holds bytes that pods and strangers have sent, cut
// off somewhere. The decoder (packet.go) therefore reads headers only as far as
// they are there, keeps no state, and cannot fail: what it cannot read is left
// out. Text of the capture is never printed as it is.
//
// A capture holds a packet at each place where it was: at the device (inner), at
// the port (outer, with IP and UDP headers made anew out of the record, for weft
// never sees the real ones), and at "drops" if it got no further. All have the
// packet's id.
package trace
