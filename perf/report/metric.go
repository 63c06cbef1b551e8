package report

// The values of a cell, by key. A key says its unit.
const (
	Gbps         = "gbps"             // goodput at the receiver, 10⁹ bit/s
	CPUPerGB     = "cpu_s_per_gb"     // whole machine, seconds per 10⁹ bytes of goodput
	CPUPerPacket = "cpu_us_per_pkt"   // whole machine, µs per datagram received
	Retransmits  = "tcp_retrans"      // segments, by the sending pod
	Kpps         = "kpps"             // datagrams received, 10³/s
	OfferedKpps  = "offered_kpps"     // datagrams sent, 10³/s
	LossPercent  = "loss_pct"         // of the datagrams sent in the window
	Reordered    = "reordered"        // datagrams that came after a later one
	Refused      = "refused"          // batches that the sender's socket had no room for
	P50          = "p50_us"           // of the round trips, µs
	P99          = "p99_us"           //
	PerSecond    = "per_s"            // round trips per second
	Lost         = "lost"             // round trips without an answer
	BusyCores    = "busy_cores"       // whole machine, mean number of busy cores
	UserShare    = "user_pct"         // shares of all processor time, %
	SystemShare  = "system_pct"       //
	SoftIRQShare = "softirq_pct"      //
	StealShare   = "steal_pct"        //
	PlaneCores   = "plane_cores"      // the plane's processes, mean number of cores
	PlaneUser    = "plane_user_pct"   // user part of the plane's processor time, %
	PlaneRSS     = "plane_rss_mib"    // largest of the plane's processes, MiB
	PlanePeak    = "plane_peak_mib"   // the same, VmHWM since the load began
	DeviceDrops  = "device_tx_drops"  // dropped at the plane's device, both hosts
	HostUDPDrops = "host_rcvbuf_errs" // UDP receive buffer overflows, both hosts
	PodUDPDrops  = "pod_rcvbuf_errs"  // the same in the pods: the load's own limit
	FrameBytes   = "frame_bytes"      // mean size of a frame on the wire, bytes

	// Of planes that are traced, both nodes together. Records are counted from
	// before the warm-up to the end of the load.
	TraceShown     = "trace_shown"    // records written by weft trace
	TraceLost      = "trace_lost"     // records that it could not keep up with
	TraceLostShare = "trace_lost_pct" // the latter of both, %
	TraceCores     = "trace_cores"    // its processes, mean number of cores
)

// The loads.
const (
	TCP1        = "tcp1"
	TCP1NoDelay = "tcp1-nodelay"
	TCP4        = "tcp4"
	RR          = "rr"
	RRLoaded    = "rr-loaded"
	UDP64       = "udp64"
	UDP1400     = "udp1400"
	PingPong    = "pingpong"
)

// A Column is one value in the table of a load.
type Column struct {
	Key    string
	Title  string
	Digits int // after the decimal point
	Ratio  bool
}

// A Table says how the cells of a load are shown. The first column is what
// the load is about.
type Table struct {
	Load    string
	Title   string
	Columns []Column
}

var (
	latency    = []Column{{P50, "p50, µs", 1, true}, {P99, "p99, µs", 1, true}}
	throughput = []Column{
		{Gbps, "Gbit/s", 2, true}, {CPUPerGB, "CPU s/GB", 2, true},
		{BusyCores, "busy cores", 2, false}, {Retransmits, "retransmits", 0, false},
	}
	packets = []Column{
		{Kpps, "received, 10³/s", 0, true}, {CPUPerPacket, "CPU µs/packet", 2, true},
		{OfferedKpps, "offered, 10³/s", 0, false}, {LossPercent, "loss, %", 1, false},
		{Reordered, "reordered", 0, false},
	}
)

// Tables lists the tables of a report in order.
var Tables = []Table{
	{TCP1, "TCP, 1 stream", throughput},
	{TCP1NoDelay, "TCP, 1 stream with TCP_NODELAY", throughput},
	{TCP4, "TCP, 4 streams", throughput},
	{RR, "Request and response of 1 byte over TCP, idle", append(latency[:2:2], Column{PerSecond, "per second", 0, false})},
	{RRLoaded, "Request and response of 1 byte every millisecond while one TCP stream runs", append(latency[:2:2], Column{Gbps, "stream, Gbit/s", 2, false})},
	{PingPong, "UDP ping-pong of 64 bytes", append(latency[:2:2], Column{Lost, "lost", 0, false})},
	{UDP64, "UDP, payload of 64 bytes", packets},
	{UDP1400, "UDP, payload of 1,400 bytes", append([]Column{{Gbps, "Gbit/s", 2, true}}, packets...)},
}
