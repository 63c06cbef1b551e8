package control

import (
	"context"
	"net/netip"

	"weft/engine/trace"
)

// A Node is what can be asked. All methods may be called at any time, by many
// at once, before the node has a lease and while it stops.
type Node interface {
	Status(ctx context.Context) Status
	// Drops returns the flight recorder's records, the oldest first, and what
	// its addresses mean.
	Drops() (trace.Meta, []trace.Record)
	// Trace begins a session. An error is one of the request, and an *Error.
	Trace(trace.Options) (*trace.Session, error)
	// TraceMeta tells what the addresses of records mean at this moment.
	TraceMeta() trace.Meta
	Explain(context.Context, Question) (Explanation, error)
	// Ping sends the echoes that r asks for and hands each reply to each, until
	// that fails or ctx ends.
	Ping(ctx context.Context, r PingRequest, each func(PingReply) error) error
	Doctor(context.Context) Report
}

// A Question asks what would happen to a packet.
type Question struct {
	Src   netip.Addr `json:"src"`
	Dst   netip.Addr `json:"dst"`
	Proto string     `json:"proto"` // tcp, udp, icmp or a number; icmp if empty
	Port  uint16     `json:"port"`  // destination port, for tcp and udp
	Size  int        `json:"size"`  // bytes of the inner packet; the device's MTU if 0
	DF    bool       `json:"df"`    // it may not be fragmented; true for IPv6 always
}

// An Explanation is the answer: what each stage would do, without a packet sent.
type Explanation struct {
	Schema   int      `json:"schema"`
	Question Question `json:"question"`
	Steps    []Step   `json:"steps"`   // in the order in which the packet meets them
	Return   []Step   `json:"return"`  // the way back, as far as it is known
	Verdict  string   `json:"verdict"` // deliver, drop, too_big, fragment or not_ours
	Drop     string   `json:"drop,omitempty"`
	Text     string   `json:"text"` // the verdict in words
	MaxSize  int      `json:"maxSize,omitempty"`
}

// A Step is what one stage does.
type Step struct {
	Stage string            `json:"stage"` // kernel, engine, size, rules, peer
	Text  string            `json:"text"`
	OK    bool              `json:"ok"`              // the packet goes on
	Facts map[string]string `json:"facts,omitempty"` // the same for programs
}

// A PingRequest asks for echoes to a peer, layer by layer.
type PingRequest struct {
	Peer     string   `json:"peer"`             // an address of it or in its subnet, or its subnet
	Layers   []string `json:"layers,omitempty"` // of underlay, engine, kernel, pod; all if empty
	Count    int      `json:"count"`            // echoes of each layer and size; 3 if 0
	Interval float64  `json:"interval"`         // seconds between echoes; 0.2 if 0
	Timeout  float64  `json:"timeout"`          // seconds to wait for an answer; 1 if 0
	Size     int      `json:"size"`             // bytes of the inner packet; 84 if 0
	DF       bool     `json:"df"`               // echoes may not be fragmented
	Sweep    bool     `json:"sweep"`            // search for the largest size that passes
	From     string   `json:"from,omitempty"`   // the local pod's address, for the layer pod
	To       string   `json:"to,omitempty"`     // the remote pod's
}

// The layers of a ping, the lowest first. Each contains those before it but
// the underlay's, which goes beside the tunnel.
const (
	LayerUnderlay = "underlay" // from node to node, outside the tunnel
	LayerEngine   = "engine"   // through the tunnel, made by the node itself: no device, no rules of ours
	LayerKernel   = "kernel"   // through the device, by the kernel's routes and rules
	LayerPod      = "pod"      // between two addresses of pods
)

// A PingReply is one echo, or with Summary set what a layer came to.
type PingReply struct {
	Layer   string       `json:"layer"`
	Seq     int          `json:"seq,omitempty"`
	Size    int          `json:"size,omitempty"` // bytes of the packet
	RTT     *float64     `json:"rtt,omitempty"`  // seconds; null: no answer
	From    netip.Addr   `json:"from,omitzero"`  // who answered
	Note    string       `json:"note,omitempty"` // an error, or what is remarkable
	Summary *PingSummary `json:"summary,omitempty"`
	Verdict string       `json:"verdict,omitempty"` // last line only: which layer fails first, in words
}

// A PingSummary is what the echoes of a layer came to.
type PingSummary struct {
	Sent     int      `json:"sent"`
	Answered int      `json:"answered"`
	Min      *float64 `json:"min,omitempty"` // seconds
	Avg      *float64 `json:"avg,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	Largest  int      `json:"largest,omitempty"` // of a sweep: bytes of the largest packet that passed
	Skipped  string   `json:"skipped,omitempty"` // why the layer was not tried
}

// A Report is what the doctor found.
type Report struct {
	Schema int     `json:"schema"`
	Node   string  `json:"node,omitempty"`
	Checks []Check `json:"checks"`
}

// A Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	Info Verdict = "info" // worth knowing, nothing to do
	Warn Verdict = "warn" // works, but not as well as it could, or not for long
	Fail Verdict = "fail" // something does not work
	Skip Verdict = "skip" // could not be checked; Cause says why
)

// A Check is one thing that was looked at.
type Check struct {
	ID      string  `json:"id"` // stable
	Peer    string  `json:"peer,omitempty"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`            // what was found
	Cause   string  `json:"cause,omitempty"` // what it comes from
	Fix     string  `json:"fix,omitempty"`   // what to do
}
