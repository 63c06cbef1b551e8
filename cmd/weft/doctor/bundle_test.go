package doctor

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/trace"
)

// planted are secrets that a bundle must not show, each in the text around it.
var planted = map[string]string{
	"hunter2-json":          `{"etcdPassword": "hunter2-json", "x": 1}`,
	"hunter2-escaped":       `{"password":"a\"hunter2-escaped"}`,
	"hunter2-number":        `{"apiToken": hunter2-number, "n": 2}`,
	"hunter2-nested":        `{"secret": {"value": "hunter2-nested"}}`,
	"hunter2-list":          `{"tokens": ["a", "hunter2-list"]}`,
	"hunter2-flag":          `weft up --etcd-password=hunter2-flag --iface eth0`,
	"hunter2-space":         `weft up --etcd-password hunter2-space --iface eth0`,
	"hunter2-env":           `FLANNELD_ETCD_PASSWORD=hunter2-env`,
	"hunter2-quoted":        `PSK = "hunter2-quoted and more"`,
	"hunter2-yaml":          "auth:\n  token: hunter2-yaml\n",
	"hunter2-url":           `https://weft:hunter2-url@10.0.0.1:2379,https://10.0.0.2:2379`,
	"hunter2-slash":         `https://weft:a/hunter2-slash@10.0.0.1:2379`,
	"hunter2user":           `etcd http://hunter2user@[fd00::1]:2379 answers`,
	"hunter2-bearer":        `Authorization: Bearer hunter2-bearer`,
	"aHVudGVyMg":            `sends "Basic aHVudGVyMg=="`,
	"c2lnbmF0dXJl":          `with eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3ZWZ0In0.c2lnbmF0dXJl inside`,
	"MC4CAQAwBQYDK2VwBCIEI": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIabc\n-----END PRIVATE KEY-----\n",
	"MIIEcutshort":          "-----BEGIN RSA PRIVATE KEY-----\nMIIEcutshort\n",
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8=":                     "private key: see AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8= there",
	"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f": "set 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f",
}

func TestRedact(t *testing.T) {
	for secret, in := range planted {
		if !strings.Contains(in, secret) {
			t.Fatalf("%q is not in %q", secret, in)
		}
		out := string(redact([]byte(in)))
		if strings.Contains(out, secret) || !strings.Contains(out, gone) {
			t.Errorf("%q became %q", in, out)
		}
		if again := string(redact([]byte(out))); strings.Contains(again, secret) {
			t.Errorf("%q became %q", out, again)
		}
	}
}

// What is needed to find a fault stays.
func TestRedactKeeps(t *testing.T) {
	for _, text := range []string{
		`{"drops":[{"reason":"wg_handshake_refused","in":3}],"sourceCheck":"strict","publicKey":null}`,
		"default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.11 metric 100",
		"FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPMASQ=true\n",
		`"where":"https://10.0.0.1:2379,https://10.0.0.2:2379"`,
		`weft_drops_total{direction="in",reason="outer_src_unknown"} 301`,
		"compare its public key in the lease with `wg show` there, and the PSK of both; udp to its port must pass both ways",
		"the author: unknown", "net/ipv4/conf/eth0/rp_filter = 2",
	} {
		if out := string(redact([]byte(text))); out != text {
			t.Errorf("%q became %q", text, out)
		}
	}
	out := string(redact([]byte(`https://u:p@10.0.0.1:2379/x and "token": "t", "subnet": "10.244.1.0/24"`)))
	if want := `https://REDACTED@10.0.0.1:2379/x and "token": "REDACTED", "subnet": "10.244.1.0/24"`; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8="
	a, b := redact([]byte(`"Key":"`+key+`"`)), redact([]byte(key))
	if !bytes.Contains(a, b) {
		t.Errorf("one key became %q and %q: they cannot be compared", a, b)
	}
}

func FuzzRedact(f *testing.F) {
	for _, in := range planted {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		// Whatever stands around it, a key or a PEM block in a line of its own goes.
		const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8="
		out := redact(append(append([]byte{}, in...), "\n"+key+"\n"...))
		if bytes.Contains(out, []byte(key)) && !bytes.Contains(in, []byte(key)) {
			t.Errorf("%q became %q", in, out)
		}
	})
}

// The table makes one line of several, which must not hide where a value begins.
func TestRedactReport(t *testing.T) {
	r := redactReport(control.Report{Checks: []control.Check{{Cause: planted["hunter2-env"] + "\n" + planted["hunter2-quoted"]}}})
	if text := r.Checks[0].Cause; strings.Contains(text, "hunter2") {
		t.Errorf("left of it: %q", text)
	}
}

// unpack reads a bundle.
func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o600 || !strings.HasPrefix(h.Name, folder) {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		if files[strings.TrimPrefix(h.Name, folder)], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// leaky is a daemon whose every answer holds secrets.
func leaky() *scripted {
	var all strings.Builder
	for _, text := range planted {
		all.WriteString(text + "\n")
	}
	d := &scripted{report: sick, metrics: all.String(), records: []trace.Record{packet("10.244.9.9"), foreign()}}
	d.report.Checks = append([]control.Check{{ID: "store", Verdict: control.Warn, Text: "etcd https://weft:hunter2-url@10.0.0.1:2379", Cause: all.String()}}, sick.Checks...)
	d.status.Node.PublicKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8="
	d.status.Store = control.Store{Where: "https://weft:hunter2-url@10.0.0.1:2379", Error: planted["hunter2-bearer"]}
	d.status.Causes = []string{planted["hunter2-env"], planted["hunter2-flag"]}
	d.meta = trace.Meta{Schema: 1, Node: "https://weft:hunter2-url@10.0.0.1:2379"}
	return d
}

// foreign is a record of a frame of another VXLAN network, in which no inner
// packet was looked for.
func foreign() trace.Record {
	r := packet("10.244.2.7")
	frame := append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, make([]byte, 14)...)
	r.ID, r.Drop, r.Kind, r.VNI, r.Snap = 8, encap.VXLANVNI, trace.VXLAN, 7, append(frame, r.Snap...)
	r.Prefix = uint16(len(r.Snap))
	return r
}

// No planted secret is in any file of a bundle, in its names or its manifest.
func TestBundleRedacted(t *testing.T) {
	var all strings.Builder
	for _, text := range planted {
		all.WriteString(text + "\n")
	}
	o := to(leaky())
	o.gather = []source{
		{name: "host.txt", get: func(context.Context) ([]byte, error) { return []byte(all.String()), nil }},
		{name: "broken.txt", get: func(context.Context) ([]byte, error) { return nil, errors.New(planted["hunter2-url"]) }},
	}
	out, errOut, code, err := call(t, o, "--bundle", "-")
	if code != 1 {
		t.Fatalf("code %d, %v", code, err)
	}
	if !bytes.Contains(errOut, []byte("WARN store")) {
		t.Errorf("no table beside the bundle: %s", errOut)
	}
	files := unpack(t, out)
	for name, text := range files {
		for secret := range planted {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds %q:\n%s", name, secret, text)
			}
		}
		if bytes.Contains(text, []byte("payload of a pod")) {
			t.Errorf("%s holds payload", name)
		}
	}
	for _, name := range []string{"report.json", "report.txt", "status.json", "metrics.txt", "drops.txt", "drops.weft", "host.txt", "version.txt"} {
		if len(files[name]) == 0 {
			t.Errorf("no %s", name)
		}
	}
	for _, name := range []string{"report.json", "status.json"} {
		if !json.Valid(files[name]) {
			t.Errorf("%s is no JSON any more:\n%s", name, files[name])
		}
	}
	var m manifest
	if err := json.Unmarshal(files["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	missing := map[string]string{}
	for _, a := range m.Missing {
		missing[a.Name] = a.Why
	}
	if !strings.Contains(missing["broken.txt"], "REDACTED@10.0.0.1") || len(m.Never) == 0 || len(m.Removed) != len(rules)+1 || len(m.Files) != len(files)-1 {
		t.Errorf("manifest %s", files["manifest.json"])
	}
}

// The stream of drops in a bundle can be read, and has headers.
func TestBundleDrops(t *testing.T) {
	d := leaky()
	b, err := dropFrames(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r := trace.NewReader(bytes.NewReader(b))
	if e, err := r.Next(); err != nil || e.Meta == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	e, err := r.Next()
	if err != nil || e.Record == nil || e.Record.ID != 7 || len(e.Record.Snap) != 28 || !bytes.Equal(e.Record.Snap, d.records[0].Snap[:28]) {
		t.Fatalf("%+v, %v; want the first 28 bytes", e.Record, err)
	}
	text, err := dropLines(t.Context(), d)
	if err != nil || !strings.Contains(string(text), "outer_src_unknown") || !strings.Contains(string(text), "203.0.113.9:8285 > 192.0.2.11:8285 udp len 44 inner 10.244.9.9 > 10.244.1.5 proto 17") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestHeaders(t *testing.T) {
	tcp := append([]byte{0x46, 9: 6, 43: 0}, "payload"...)
	six := append([]byte{0x60, 6: 17, 47: 0}, "payload"...)
	for name, x := range map[string]struct {
		r    trace.Record
		want int
	}{
		"tcp with options":  {trace.Record{Snap: tcp}, 44},
		"IPv6 behind VXLAN": {trace.Record{Snap: append(make([]byte, 22), six...), Prefix: 22}, 22 + 48},
		"short":             {trace.Record{Snap: make([]byte, 9)}, 0},
		"no IP":             {trace.Record{Snap: bytes.Repeat([]byte{0xff}, 60), Prefix: 8, Kind: trace.VXLAN}, 8},
		"no packet found":   {trace.Record{Snap: make([]byte, 160), Prefix: 160, Kind: trace.VXLAN}, 22},
		"still sealed":      {trace.Record{Snap: make([]byte, 160), Prefix: 160, Kind: trace.WireGuard}, 16},
		"bare":              {trace.Record{Snap: make([]byte, 160), Prefix: 160, Kind: trace.UDP}, 0},
		"cut header":        {trace.Record{Snap: append([]byte{0x4f}, make([]byte, 20)...)}, 21},
	} {
		if got := len(headers(&x.r)); got != x.want {
			t.Errorf("%s: %d bytes are kept, want %d", name, got, x.want)
		}
	}
}

// A bundle without a daemon holds the host, says what is missing, and is for its
// owner alone.
func TestBundleLocal(t *testing.T) {
	o := to(nil)
	o.connect = func(string) (daemon, error) { return nil, errors.New("no socket") }
	o.gather = hostSources
	path := filepath.Join(t.TempDir(), "weft.tar.gz")
	if _, errOut, code, err := call(t, o, "--bundle", path); code != 1 || !bytes.Contains(errOut, []byte("wrote "+path)) {
		t.Fatalf("code %d, %v, %s", code, err, errOut)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, data)
	for name, words := range map[string]string{"kernel.txt": "Linux", "links.json": `"lo"`, "sysctls.txt": "net/ipv4/ip_forward = ", "counters.txt": "TcpExt", "report.txt": "weft does not run here"} {
		if !bytes.Contains(files[name], []byte(words)) {
			t.Errorf("%s does not hold %q: %.300s", name, words, files[name])
		}
	}
	if !bytes.Contains(files["manifest.json"], []byte(errNoDaemon.Error())) {
		t.Errorf("manifest: %s", files["manifest.json"])
	}
	if _, _, code, err := call(t, o, "--bundle", "/nonexistent/x.tar.gz"); code != 1 || !strings.Contains(err.Error(), "--bundle=/nonexistent/x.tar.gz") {
		t.Errorf("code %d, %v", code, err)
	}
}

// Every rule is needed: without it one of the planted secrets shows.
func TestRedactRules(t *testing.T) {
	all := rules
	defer func() { rules = all }()
	for i := range all {
		rules = slices.Delete(slices.Clone(all), i, i+1)
		leaks := 0
		for secret, in := range planted {
			if bytes.Contains(redact([]byte(in)), []byte(secret)) {
				leaks++
			}
		}
		if leaks == 0 {
			t.Errorf("no planted secret needs the rule for %q", all[i].what)
		}
	}
}
