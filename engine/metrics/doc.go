// Package metrics shows a node's [control.Status] to Prometheus.
//
// # Theory of operation
//
// Nothing is counted here. A scrape takes one Status, so that all its samples
// are of one moment, and turns it into constant metrics:
//
//	GET ─► Status(ctx) ─► table of metrics ─► text
//	                      process and Go runtime ─┘
//
// Each metric is one row of a table: name, type, labels, meaning, and the
// function that reads its samples from the Status. [Names] gives that table to
// the documents. Names begin with weft_ and end with their unit; sizes are in
// bytes, durations in seconds, times in seconds since the Unix epoch. What is
// not known has no sample: a peer that never answered has no round-trip time,
// rather than one of 0.
//
// # Cardinality
//
// What others can choose makes no series without a bound. Peers come from the
// lease store: at most [MaxPeers] of them, the first by subnet, have series of
// their own, and weft_peer_series_omitted counts the rest; weft_peers counts
// them all. Reasons of drops are a fixed list, and all of them are there from
// the start, since rate and increase do not see a counter's first value. Group
// policies (VXLAN GBP) are 16 bits that any frame can fill in, so they have no
// series; `weft status` shows them.
package metrics
