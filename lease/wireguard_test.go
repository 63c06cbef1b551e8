package lease

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const wgKeyText = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="

func wgKey(t *testing.T) WireGuardKey {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(wgKeyText)
	if err != nil {
		t.Fatal(err)
	}
	return WireGuardKey(b)
}

func TestWireGuardData(t *testing.T) {
	const text = `{"PublicKey":"` + wgKeyText + `","Port":51820}`
	want := WireGuardData{PublicKey: wgKey(t), Port: 51820}
	a := Attrs{BackendType: "wireguard", BackendData: json.RawMessage(text)}
	if d, err := a.WireGuard(4); err != nil || d != want {
		t.Errorf("%+v, %v", d, err)
	}
	if out, err := json.Marshal(want); err != nil || string(out) != text {
		t.Errorf("written as %s, %v", out, err)
	}
	// Characters that encoders like to escape stay as they are.
	plus := WireGuardData{PublicKey: WireGuardKey(bytes.Repeat([]byte{0xfb, 0xef, 0xff, 0xff}, 8)), Port: 1}
	if out, err := json.Marshal(plus); err != nil || !strings.Contains(string(out), "++///") {
		t.Errorf("written as %s, %v", out, err)
	}
	if _, err := a.WireGuard(6); err == nil || err.Error() != "BackendV6Data: missing" {
		t.Errorf("a family without data: %v", err)
	}
	for _, old := range []string{ // as before flannel 0.26.6
		`{"PublicKey":"` + wgKeyText + `","More":[]}`,
		`{"publickey":"` + wgKeyText + `","Port":0}`,
		`{"PublicKey":"` + wgKeyText + `","Port":null}`,
	} {
		a.BackendV6Data = json.RawMessage(old)
		if d, err := a.WireGuard(6); err != nil || d != (WireGuardData{PublicKey: wgKey(t)}) {
			t.Errorf("%s: %+v, %v", old, d, err)
		}
	}
}

func TestWireGuardDataRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                     `BackendData: PublicKey: missing`,
		`{"PublicKey":null}`:                     `PublicKey: missing`,
		`{"PublicKey":""}`:                       `PublicKey: "" is the base64 of 0 bytes and not of 32`,
		`{"PublicKey":5}`:                        `PublicKey: 5 is not a string`,
		`{"PublicKey":"no key!"}`:                `PublicKey: "no key!" is not base64`,
		`{"PublicKey":"` + wgKeyText[:40] + `"}`: `is the base64 of 30 bytes and not of 32`,
		`{"PublicKey":"` + strings.Repeat("A", 43) + `="}`:     `PublicKey: "AAAA`,
		`{"PublicKey":"` + wgKeyText + `","Port":65536}`:       `BackendData: Port: 65536 is not in 0..65535`,
		`{"PublicKey":"` + wgKeyText + `","Port":-1}`:          `BackendData: Port: -1 is not in 0..65535`,
		`{"PublicKey":"` + wgKeyText + `","Port":"51820"}`:     `BackendData: Port: "51820" is not a whole number`,
		`{"PublicKey":"` + strings.Repeat("QUFB", 1000) + `"}`: `QUFB…" is the base64 of 3000 bytes`,
		`"hello"`:                          `BackendData: the whole: "hello" is not a JSON object`,
		`{"PublicKey":"` + wgKeyText + `"`: `BackendData: `,
	} {
		d, err := Attrs{BackendData: json.RawMessage(text)}.WireGuard(4)
		if err == nil || !strings.Contains(err.Error(), want) || d != (WireGuardData{}) {
			t.Errorf("%s: %+v, %v; want %q", text, d, err, want)
		}
	}
}

func FuzzWireGuardData(f *testing.F) {
	f.Add([]byte(`{"PublicKey":"` + wgKeyText + `","Port":51820}`))
	f.Add([]byte(`{"PublicKey":"` + wgKeyText + `"}`))
	f.Add([]byte(`{"PublicKey":"AAAA","Port":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Attrs{BackendData: data}.WireGuard(4)
		if err != nil {
			if d != (WireGuardData{}) {
				t.Errorf("%q: %+v beside %v", data, d, err)
			}
			return
		}
		if d.PublicKey == (WireGuardKey{}) {
			t.Errorf("%q: no key", data)
		}
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := (Attrs{BackendData: out}).WireGuard(4); err != nil || again != d {
			t.Errorf("%q: written as %s, read as %+v, %v", data, out, again, err)
		}
	})
}

// secretText is a PSK of the bytes 0xa5; no number of a test looks like it.
var (
	secret     = WireGuardSecret(bytes.Repeat([]byte{0xa5}, 32))
	secretText = base64.StdEncoding.EncodeToString(secret[:])
)

func TestWireGuardSecretDoesNotPrint(t *testing.T) {
	b := WireGuardBackend{PSK: secret}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+"\n", secret, b)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("options", "all", b, "psk", b.PSK)
	}
	text, err := json.Marshal(b)
	if err != nil || !strings.Contains(string(text), `"PSK":"(hidden)"`) {
		t.Errorf("%s, %v", text, err)
	}
	out.Write(text)
	for _, part := range []string{secretText[:8], "a5a5", "0xa5", "165"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(part)) {
			t.Errorf("%q can be seen in\n%s", part, &out)
		}
	}
	if got := fmt.Sprint(secret, WireGuardSecret{}); got != "(hidden) (none)" {
		t.Errorf("printed as %s", got)
	}
	if secret.Bytes() != [32]byte(secret) {
		t.Error("Bytes returns something else")
	}
}
