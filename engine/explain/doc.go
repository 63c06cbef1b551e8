// Package explain says what would happen to a packet, without sending it.
//
// # Theory of operation
//
// A packet between two pods meets the same stages in the same order, so the
// answer to a [control.Question] is a walk past them. Each stage asks whoever
// decides there, and never repeats his reasoning where he can be asked:
//
//	kernel   the kernel's own route lookup, with the packet's source and the
//	         interface it comes in by, so that rules, tables and source
//	         validation (rp_filter) are the real ones
//	engine   the data plane's table: which lease covers the address, and what
//	         would be done with a packet for it
//	size     the device's MTU and the limit of the path to that peer
//	rules    the packet filter's chains on the way, as far as they can be read
//	peer     whether the peer is there and would take it
//
// The way back is asked in the other direction: the peer for its view, if it is a
// weft node; our own source check; our kernel for the route to the pod. The walk
// ends at the first stage that does not let the packet go on, which gives the
// verdict. Only a packet that is too long walks on, as a shorter one would: it is
// of no use to send that if a later stage drops it. The way back is looked at in
// any case, since who asks wants to know all that is wrong.
//
// What cannot be read is said to be unknown and stops nothing: a stage that
// errs towards "it goes on" shows up in a trace, while a false alarm costs an
// afternoon.
//
// # Namespaces
//
// [Host] asks the kernel in the network namespace of the calling thread, which
// must be the one that the device is in.
package explain
