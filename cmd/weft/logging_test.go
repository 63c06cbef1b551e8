package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestNoSecretsInTheLog gives passwords in every way there is and looks for
// them in the log, in both formats. flanneld logs them.
func TestNoSecretsInTheLog(t *testing.T) {
	const password = "s3cr3t"
	ways := map[string]struct {
		args    []string
		environ []string
	}{
		"flag":        {args: []string{"--etcd-username", "u", "--etcd-password", password}},
		"environment": {environ: []string{"FLANNELD_ETCD_USERNAME=u", "FLANNELD_ETCD_PASSWORD=" + password}},
		"API URL":     {args: []string{"--kube-api-url", "https://u:" + password + "@10.0.0.3"}},
	}
	for name, way := range ways {
		for _, format := range []string{"text", "json"} {
			t.Run(name+" "+format, func(t *testing.T) {
				log := optionLog(t, format, way.args, way.environ)
				if strings.Contains(log, password) {
					t.Errorf("the log holds the password:\n%s", log)
				}
				if n := strings.Count(log, "etcd-prefix"); n != 1 {
					t.Errorf("the options were logged %d times, want once:\n%s", n, log)
				}
			})
		}
	}
}

// TestOptionsAreLogged shows that the search above looks at the right text.
func TestOptionsAreLogged(t *testing.T) {
	log := optionLog(t, "text", []string{
		"--iface", "eth7", "--etcd-username", "alice", "--etcd-password", "x",
		"--kube-api-url", "https://u:x@10.0.0.2",
	}, nil)
	for _, want := range []string{
		"iface=eth7", "etcd-username=alice", "etcd-password=[hidden]",
		"kube-api-url=https://u:xxxxx@10.0.0.2", "iptables-resync=5",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

// optionLog returns what the daemon logs about its options.
func optionLog(t *testing.T, format string, args, environ []string) string {
	t.Helper()
	o := defaultOptions()
	fs := newFlagSet(o)
	if err := fs.Parse(append(args, "--log-format", format)); err != nil {
		t.Fatal(err)
	}
	if err := readEnvironment(fs, o, environ); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	logOptions(newLogger(&b, o), o)
	return b.String()
}
