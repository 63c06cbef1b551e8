package main

import (
	"cmp"
	"os"
	"strings"
	"time"

	"weft/engine"
	"weft/engine/iface"
	"weft/tunnel/wg"
)

// options is everything that the daemon's flags and environment can say.
type options struct {
	iface iface.Options

	etcdEndpoints []string
	etcdPrefix    string
	etcdKeyFile   string
	etcdCertFile  string
	etcdCAFile    string
	etcdUsername  string
	etcdPassword  string
	renewMargin   int // minutes

	leases             string // directory; empty: etcd
	nodeName           string
	etcdEmbedded       bool
	etcdEmbeddedDir    string
	etcdEmbeddedListen string
	netConfigPath      string

	kubeSubnetMgr             bool
	kubeAPIURL                string
	kubeConfigFile            string
	kubeAnnotationPrefix      string
	setNodeNetworkUnavailable bool

	subnetFile     string
	ipMasq         bool
	noRandomFully  bool
	forwardRules   bool
	iptablesResync int // seconds
	blackhole      bool
	tunMode        string
	sourceCheck    string
	gbpPolicy      string
	peerPorts      []string // TYPE=PORT
	wgKeyFile      string   // empty: the places of wg.ResolveKeyFile
	wgUserKey      string   // the last of them
	wgSocketDir    string
	socket         string // path, socketOff, or empty: the usual place
	socketGroup    string
	probeInterval  int // seconds; 0: none
	healthzIP      string
	healthzPort    int
	metrics        bool
	logFormat      string
	verbosity      int
	vmodule        string
	logBacktraceAt string
	version        bool
	warnings       []string          // for the log, once there is one
	fromEnv        map[string]string // flag name → the variable that set it
}

// defaultOptions are flanneld's defaults, and ours for what it does not have.
func defaultOptions() *options {
	return &options{
		etcdEndpoints:             []string{"http://127.0.0.1:4001", "http://127.0.0.1:2379"},
		etcdPrefix:                "/coreos.com/network",
		renewMargin:               60,
		etcdEmbeddedDir:           "/var/lib/weft/etcd",
		etcdEmbeddedListen:        "http://127.0.0.1:2379",
		netConfigPath:             "/etc/kube-flannel/net-conf.json",
		kubeAnnotationPrefix:      "flannel.alpha.coreos.com",
		setNodeNetworkUnavailable: true,
		subnetFile:                "/run/flannel/subnet.env",
		forwardRules:              true,
		iptablesResync:            5,
		tunMode:                   "auto",
		sourceCheck:               "strict",
		wgSocketDir:               wg.SocketDir,
		probeInterval:             10,
		healthzIP:                 "0.0.0.0",
		metrics:                   true,
		logFormat:                 "text",
	}
}

// engineOptions is the part of o that the engine is told.
func (o *options) engineOptions() engine.Options {
	kind, where := o.storeNames()
	return engine.Options{
		Name:          o.nodeName,
		Version:       readVersion().Version,
		StoreKind:     kind,
		StoreWhere:    where,
		Iface:         o.iface,
		SubnetFile:    o.subnetFile,
		IPMasq:        o.ipMasq,
		RandomFully:   !o.noRandomFully,
		ForwardRules:  o.forwardRules,
		RulesResync:   time.Duration(o.iptablesResync) * time.Second,
		Blackhole:     o.blackhole,
		TunMode:       o.tunMode,
		SourceCheck:   o.sourceCheck,
		GBPPolicy:     o.gbpPolicy,
		PeerPorts:     portsByType(o.peerPorts),
		SocketDir:     o.wgSocketDir,
		ProbeInterval: o.every(),
		Key:           o.wireGuardKey,
	}
}

// storeNames says in words which lease store o names, and where that is.
func (o *options) storeNames() (kind, where string) {
	switch {
	case o.leases != "":
		return "file", o.leases
	case o.etcdEmbedded:
		return "embedded etcd", o.etcdEmbeddedListen
	}
	return "etcd", strings.Join(o.etcdEndpoints, ",")
}

// every is the time between echoes as the engine wants it.
func (o *options) every() time.Duration {
	if o.probeInterval == 0 {
		return -1
	}
	return time.Duration(o.probeInterval) * time.Second
}

// wireGuardKey comes by the node's private key.
func (o *options) wireGuardKey() (wg.StoredKey, error) {
	if o.wgKeyFile != "" {
		key, err := wg.LoadKey(o.wgKeyFile)
		key.Why = "as told"
		return key, err
	}
	return wg.ResolveKeyFile(wg.FlannelKeyFile, wg.StateKeyFile, o.wgUserKey)
}

// resolve fills in what depends on the machine.
func (o *options) resolve(environ []string) error {
	getenv := func(name string) string { return lookupEnv(environ, name) }
	o.wgKeyFile = cmp.Or(o.wgKeyFile, getenv("WIREGUARD_KEY_FILE"))
	o.wgUserKey = wg.UserKeyFile(getenv)
	if o.nodeName == "" {
		o.nodeName = lookupEnv(environ, "NODE_NAME")
	}
	if o.nodeName != "" {
		return nil
	}
	host, err := os.Hostname()
	o.nodeName = host
	return err
}

// check finds the contradictions between flags, which no single flag shows.
func (o *options) check(changed func(string) bool) error {
	both := func(a, b, why string) error {
		return usagef("%s and %s: %s", o.source(a), o.source(b), why)
	}
	switch {
	case o.kubeSubnetMgr:
		return usagef("%s: leases in Kubernetes are not supported by this version; "+
			"use etcd (--etcd-endpoints) or a shared directory (--leases DIR)", o.source("kube-subnet-mgr"))
	case o.leases != "" && o.etcdEmbedded:
		return both("leases", "etcd-embedded", "only one of them can hold the leases")
	case o.leases != "" && changed("etcd-endpoints"):
		return both("leases", "etcd-endpoints", "only one of them can hold the leases")
	case o.etcdEmbedded && changed("etcd-endpoints"):
		return both("etcd-embedded", "etcd-endpoints", "the node uses its own etcd or another, not both")
	case (o.etcdKeyFile == "") != (o.etcdCertFile == ""):
		return both("etcd-keyfile", "etcd-certfile", "give both of them or neither")
	case o.etcdPassword != "" && o.etcdUsername == "":
		return usagef("%s: a password needs --etcd-username", o.source("etcd-password"))
	}
	o.warnIgnored(changed)
	return nil
}

// warnIgnored notes the flags that are accepted for compatibility alone.
func (o *options) warnIgnored(changed func(string) bool) {
	for _, name := range []string{"kube-api-url", "kubeconfig-file", "kube-annotation-prefix", "set-node-network-unavailable"} {
		if changed(name) {
			o.warnings = append(o.warnings, o.source(name)+" has no effect without --kube-subnet-mgr")
		}
	}
	for _, name := range []string{"vmodule", "log_backtrace_at"} {
		if changed(name) {
			o.warnings = append(o.warnings, o.source(name)+" is ignored: logs have one level, see -v")
		}
	}
	if changed("net-config-path") && !o.etcdEmbedded && o.leases == "" {
		o.warnings = append(o.warnings, o.source("net-config-path")+
			" is ignored: the network configuration is read from etcd, key "+o.etcdPrefix+"/config")
	}
}

// source is how a message names a flag: by the variable that set it, if one
// did.
func (o *options) source(name string) string {
	return cmp.Or(o.fromEnv[name], "--"+name)
}

// lookupEnv returns the last value of name in environ, or "".
func lookupEnv(environ []string, name string) (value string) {
	for _, kv := range environ {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			value = v
		}
	}
	return value
}
