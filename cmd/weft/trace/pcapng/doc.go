// Package pcapng writes capture files in the format that Wireshark reads, with
// all that it can say of a packet: where it was seen, in which direction, under
// which id, what became of it, and in words.
//
// # Theory of operation
//
// A file is one section: a header, then blocks. An interface is described
// before its first packet, and may be at any time before that, so a reader of a
// live stream learns of interfaces as they come up. The section's statistics
// come last. Nothing is buffered: each call makes one block and one Write, so
// what was written is readable at any moment, and a pipe's reader sees whole
// blocks.
//
//	┌───────────────────────────────────────────────────────────────────────┐
//	│ SHB  0a0d0d0a │ length │ 1a2b3c4d │ 1.0 │ section length −1 │ options   │
//	├───────────────────────────────────────────────────────────────────────┤
//	│ IDB  00000001 │ length │ link type 2 │ 0 2 │ snaplen │ options          │
//	│      if_name, if_description, if_tsresol 9: all times are nanoseconds  │
//	├───────────────────────────────────────────────────────────────────────┤
//	│ EPB  00000006 │ length │ interface │ time high │ time low              │
//	│      captured length │ original length │ data, padded to 4 │ options   │
//	│      opt_comment, epb_flags, epb_dropcount, epb_packetid, epb_verdict  │
//	├───────────────────────────────────────────────────────────────────────┤
//	│ ISB  00000005 │ length │ interface │ time high │ time low │ options    │
//	│      isb_starttime, isb_endtime, isb_ifrecv, isb_ifdrop                │
//	└───────────────────────────────────────────────────────────────────────┘
//	each block ends with its length once more
//	option: code 2 │ length 2 │ value, padded to 4; code 0 ends them
//
// All numbers are little-endian, which the header's magic number tells. The
// format is draft-ietf-opsawg-pcapng: sections 3.5 (options), 4.1 (SHB), 4.2
// (IDB), 4.3 (EPB) and 4.6 (ISB). Link types are those of
// https://www.tcpdump.org/linktypes.html.
package pcapng
