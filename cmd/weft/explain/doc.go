// Package explain is `weft explain`: what would happen to a packet, stage by
// stage, without sending one.
//
// # Theory of operation
//
// The node answers with a [control.Explanation]; nothing is decided here. The
// screen has a line for each stage, those of the way back below them, and the
// verdict last. A stage that does not let the packet go on bears a cross.
//
//	stage  │   text
//	size   │ ✗ 1500 > 1450 (path 1500 − vxlan 50) …
//
// Texts hold names from the lease store, where anything may stand, so characters
// that a terminal would obey are replaced.
package explain
