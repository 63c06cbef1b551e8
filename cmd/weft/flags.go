package main

import (
	"math"

	"github.com/spf13/pflag"
)

// A flagRow defines one flag of the daemon: for `weft up`, for the call as
// flanneld and, as FLANNELD_NAME, for the environment.
type flagRow struct {
	name   string
	target pflag.Value // its present text is the default
	usage  string      // the word in backquotes stands for the value in help
	kind   flagKind
}

// flagKind is a set of marks on a flag.
type flagKind uint8

const (
	plain  flagKind = 0
	secret flagKind = 1 << iota // never shown
	noEnv                       // not read from the environment
	noLog                       // not part of the logged options
)

// maxResync bounds --iptables-resync, so that it fits a time.Duration with room.
const maxResync = math.MaxInt32

// A flagGroup is a heading of the help text and the flags below it.
type flagGroup struct {
	title string
	rows  []flagRow
}

// flagTable is the table of all flags of the daemon, in the order of the help
// text. Names and defaults are flanneld's where flanneld has the flag.
func flagTable(o *options) []flagGroup {
	return []flagGroup{
		{"Interface", interfaceFlags(o)},
		{"Leases in etcd", etcdFlags(o)},
		{"Leases elsewhere", otherStoreFlags(o)},
		{"Packets and rules", packetFlags(o)},
		{"Control, health, logs", processFlags(o)},
		{"Accepted for flanneld's sake", ignoredFlags(o)},
	}
}

func interfaceFlags(o *options) []flagRow {
	return []flagRow{
		{"iface", repeated(&o.iface.Iface, ifaceNames), "`interface` (name or address) that carries the tunnel; repeatable, the first that works is used", plain},
		{"iface-regex", repeated(&o.iface.IfaceRegex, ifaceRegex), "`expression` that an interface's address or name matches; repeatable, tried after --iface", plain},
		{"iface-can-reach", checked(&o.iface.CanReach, isAddr), "use the interface whose route leads to `address`; tried last", plain},
		{"public-ip", checked(&o.iface.PublicIP, isAddr4), "IPv4 `address` that other nodes send to", plain},
		{"public-ipv6", checked(&o.iface.PublicIPv6, isAddr6), "IPv6 `address` that other nodes send to", plain},
	}
}

func etcdFlags(o *options) []flagRow {
	return []flagRow{
		{"etcd-endpoints", commaList(&o.etcdEndpoints, isEndpoint), "comma-separated `URLs` of etcd", plain},
		{"etcd-prefix", text(&o.etcdPrefix), "`key` below which the network lives", plain},
		{"etcd-keyfile", text(&o.etcdKeyFile), "client key `file` for TLS", plain},
		{"etcd-certfile", text(&o.etcdCertFile), "client certificate `file` for TLS", plain},
		{"etcd-cafile", text(&o.etcdCAFile), "`file` of the authority that signed etcd's certificate", plain},
		{"etcd-username", text(&o.etcdUsername), "etcd `user`", plain},
		{"etcd-password", text(&o.etcdPassword), "etcd `password`; safer as FLANNELD_ETCD_PASSWORD", secret},
		{"subnet-lease-renew-margin", integer(&o.renewMargin, 1, 1439, "a number of minutes from 1 to 1439"), "renew the lease this many `minutes` before it ends, 1 to 1439", plain},
	}
}

func otherStoreFlags(o *options) []flagRow {
	return []flagRow{
		{"leases", text(&o.leases), "keep leases as files in this shared `directory`; no etcd is needed", plain},
		{"node-name", text(&o.nodeName), "`name` of this node, for --leases (default $NODE_NAME, then the host's name)", plain},
		{"etcd-embedded", boolean(&o.etcdEmbedded), "run an etcd inside this node and use it", plain},
		{"etcd-embedded-dir", text(&o.etcdEmbeddedDir), "data `directory` of that etcd", plain},
		{"etcd-embedded-listen", checked(&o.etcdEmbeddedListen, isListenURL), "`URL` where that etcd serves this node and others; it asks for no password", plain},
		{"net-config-path", text(&o.netConfigPath), "net-conf.json `file` that fills an empty store, with --leases or --etcd-embedded", plain},
	}
}

func packetFlags(o *options) []flagRow {
	return []flagRow{
		{"subnet-file", text(&o.subnetFile), "`file` that tells others about this node's subnet, and remembers it", plain},
		{"ip-masq", boolean(&o.ipMasq), "masquerade traffic that leaves the overlay", plain},
		{"ip-masq-fully-random-disable", boolean(&o.noRandomFully), "masquerade without random ports", plain},
		{"iptables-forward-rules", boolean(&o.forwardRules), "accept forwarding from and to the overlay", plain},
		{"iptables-resync", integer(&o.iptablesResync, 1, maxResync, "a number of seconds, at least 1"), "look after rules every so many `seconds`, 1 or more", plain},
		{"ip-blackhole-route", boolean(&o.blackhole), "keep a blackhole route for this node's subnet", plain},
		{"tun-mode", oneOf(&o.tunMode, "auto", "plain"), "`mode` of the TUN device: auto (with offloads) or plain (one packet at a time)", plain},
		{"source-check", oneOf(&o.sourceCheck, "strict", "report", "off"), "`what` to do with packets from outside any lease: strict (drop), report or off", plain},
		{"gbp-policy", checked(&o.gbpPolicy, isPolicies), "group `policies` whose frames are accepted when Backend.GBP is on: any, or numbers and ranges as in 0,0x10,100-199", plain},
		{"peer-port", repeated(&o.peerPorts, peerPorts), "`TYPE=PORT` where peers with another backend than ours listen, as in udp=9000; repeatable, else 8285 and 8472", plain},
		{"wireguard-key-file", text(&o.wgKeyFile), "`file` of the private key, made if it is not there (default $WIREGUARD_KEY_FILE, then /var/lib/weft/wgkey)", plain},
		{"wireguard-socket-dir", text(&o.wgSocketDir), "`directory` of the socket that wg(8) talks to", plain},
	}
}

func processFlags(o *options) []flagRow {
	return []flagRow{
		{"socket", checked(&o.socket, isSocket), "`path` of the control socket, which weft status and others ask; off for none (default /run/weft/NAME.sock, or below $XDG_RUNTIME_DIR)", plain},
		{"probe-interval", integer(&o.probeInterval, 0, 3600, "a number of seconds from 0 to 3600"), "time between two echoes to each peer, in `seconds`; 0 for none", plain},
		{"socket-group", text(&o.socketGroup), "`group` whose members may read at the control socket (default weft, if there is one)", plain},
		{"healthz-ip", checked(&o.healthzIP, isAddr), "`address` of the health server", plain},
		{"healthz-port", integer(&o.healthzPort, math.MinInt32, math.MaxUint16, "a port, or 0 for none"), "`port` of /healthz, /readyz and /metrics; 0 for none", plain},
		{"metrics", boolean(&o.metrics), "answer at /metrics of that port too", plain},
		{"log-format", oneOf(&o.logFormat, "text", "json"), "`format` of the log on stderr: text or json", plain},
		{"v", integer(&o.verbosity, math.MinInt32, math.MaxInt32, "a whole number"), "log `level`: 0 is normal, 1 and above adds details", plain},
		{"version", boolean(&o.version), "print the version and exit", noEnv | noLog},
	}
}

func ignoredFlags(o *options) []flagRow {
	return []flagRow{
		{"kube-subnet-mgr", boolean(&o.kubeSubnetMgr), "leases in Kubernetes; an error in this version", plain},
		{"kube-api-url", text(&o.kubeAPIURL), "`URL` of the Kubernetes API", plain},
		{"kubeconfig-file", text(&o.kubeConfigFile), "kubeconfig `file`", plain},
		{"kube-annotation-prefix", text(&o.kubeAnnotationPrefix), "`prefix` of node annotations", plain},
		{"set-node-network-unavailable", boolean(&o.setNodeNetworkUnavailable), "patch the node's NetworkUnavailable condition", plain},
		{"vmodule", text(&o.vmodule), "`pattern`=N log levels per file, ignored", noLog},
		{"log_backtrace_at", text(&o.logBacktraceAt), "`file:line` that logs a stack, ignored", noLog},
	}
}

// addTo defines the group's flags in fs.
func (g flagGroup) addTo(fs *pflag.FlagSet) {
	for _, r := range g.rows {
		short := ""
		if len(r.name) == 1 {
			short = r.name
		}
		f := fs.VarPF(r.target, r.name, short, r.usage)
		if r.target.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}
