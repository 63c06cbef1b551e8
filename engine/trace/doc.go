// Package trace holds what the data plane says of single packets: records, the
// sessions that ask for them, and the flight recorder of what was dropped.
//
// # Theory of operation
//
// A loop asks its [Hub] once per batch, with one atomic load, whether anybody
// traces. If so it keeps a list of the batch's packets and of what became of
// each, and when the batch is done, and every verdict known, hands the list to
// each [Session]: the session's filter looks at the packet where it lies, and
// what matches is encoded, headers first, into the session's buffer. The buffer
// is bounded; what does not fit is counted as lost, and no loop ever waits for a
// reader. The reader takes the full buffer and leaves an empty one.
//
//	loop ─► filter ─► encode ─┐
//	loop ─► filter ─► encode ─┼─► buffer ⇄ buffer ─► reader ─► socket ─► weft trace
//	                  (full: lost++)
//
// Nothing is formatted here: text, JSON and pcapng are made by who reads.
//
// The flight recorder is always on. It keeps the headers of the last packets
// that were dropped, a bounded number of each reason in each second.
//
// # The stream
//
// A trace travels as frames, all numbers in network byte order:
//
//	┌────────────┬────────┬───────────┐
//	│ length  4  │ type 1 │ body …    │   length counts the type and the body
//	└────────────┴────────┴───────────┘
//	type 'M': JSON, a [Meta]: comes first, and again when peers changed
//	type 'R': a [Record]
//	type 'L': 8 bytes, records lost since the last 'L'
//	type 'E': the end, said by the daemon: text, why
//
// A reader skips types that it does not know. See [Record] for its layout.
package trace
