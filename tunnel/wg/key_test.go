package wg

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	privateText = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8="
	publicText  = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="
)

// countingKey is the key of privateText: 0, 1, 2 …, clamped.
func countingKey() (k PrivateKey) {
	for i := range k {
		k[i] = byte(i)
	}
	k[31] = 0x5f
	return k
}

func TestPublicKey(t *testing.T) {
	if got := countingKey().Public().String(); got != publicText {
		t.Errorf("public key %s, want %s", got, publicText)
	}
	plain := countingKey() // the bits that clamping sets do not count
	plain[0], plain[31] = 7, 0x9f
	if got := plain.Public().String(); got != publicText {
		t.Errorf("without clamping %s, want %s", got, publicText)
	}
}

func TestNewPrivateKeyIsClamped(t *testing.T) {
	a, b := NewPrivateKey(), NewPrivateKey()
	if a == b {
		t.Error("the same key twice")
	}
	if a[0]&7 != 0 || a[31]&0xc0 != 0x40 {
		t.Error("the key is not clamped")
	}
}

// Whatever prints a structure with keys in it shows the public one alone.
func TestSecretsDoNotPrint(t *testing.T) {
	k := countingKey()
	v := struct {
		Private   PrivateKey
		Preshared PresharedKey
		Pointer   *PrivateKey
		Public    PublicKey
	}{k, PresharedKey(k), &k, k.Public()}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", v.Private, v.Preshared, []PrivateKey{k})
	}
	fmt.Fprintf(&out, "%v %+v %s %d\n", v, v, v.Private.String()+v.Preshared.String(), map[int]PresharedKey{1: v.Preshared})
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("key", "private", v.Private, "preshared", v.Preshared, "all", v)
	}
	for _, secret := range []any{v, v.Private, v.Preshared, map[PrivateKey]int{k: 1}} {
		if text, err := json.Marshal(secret); err == nil {
			t.Errorf("a secret in JSON: %s", text)
		}
	}
	for _, part := range []string{privateText, privateText[:8], "0 1 2 3", "0x0, 0x1", "000102", "[0,1,2", "1 10 11 100", "0 1 2 3 4 5 6 7 10"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(part)) {
			t.Errorf("%q can be seen in\n%s", part, &out)
		}
	}
	if !strings.Contains(fmt.Sprint(v), publicText) || !strings.Contains(fmt.Sprint(v), "(hidden)") {
		t.Errorf("printed as %v", v)
	}
}

func write(t *testing.T, path, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wgkey")
	for _, tc := range []struct {
		text string
		mode fs.FileMode
		warn bool
	}{
		{privateText, 0o400, false}, // flannel's
		{privateText + "\n", 0o600, false},
		{" \t" + privateText + "\r\n\n", 0o600, false},
		{privateText, 0o711, false},
		{privateText, 0o640, true},
		{privateText, 0o604, true},
		{privateText, 0o620, true},
	} {
		os.Remove(path)
		write(t, path, tc.text, tc.mode)
		k, err := LoadKey(path)
		if err != nil || k.Key != countingKey() || k.Path != path || k.Created {
			t.Errorf("%q: created %v, path %s, %v", tc.text, k.Created, k.Path, err)
		}
		fix := fmt.Sprintf("%s has mode %04o, so others can get at the private key; chmod 0600 %[1]s", path, tc.mode)
		if tc.warn && k.Warning != fix || !tc.warn && k.Warning != "" {
			t.Errorf("mode %v: warning %q", tc.mode, k.Warning)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != tc.text {
			t.Errorf("the file was changed to %q, %v", text, err)
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct{ text, want string }{
		"empty":   {"", "is empty"},
		"blank":   {" \n", "is empty"},
		"garbage": {"secret!" + privateText[7:], "does not hold base64"},
		"two":     {privateText + "\n" + privateText + "\n", "does not hold base64"},
		"short":   {"c2VjcmV0", "holds the base64 of 6 bytes; a key has 32"},
		"long":    {base64.StdEncoding.EncodeToString([]byte(privateText)), "holds the base64 of 44 bytes"},
		"zeros":   {strings.Repeat("A", 43) + "=", "holds nothing but zeros"},
		"huge":    {strings.Repeat("c2VjcmV0", 200), "is longer than 1024 bytes"},
	} {
		path := write(t, filepath.Join(dir, name), tc.text, 0o600)
		k, err := LoadKey(path)
		if err == nil || !strings.Contains(err.Error(), path+" "+tc.want) || k != (StoredKey{}) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
			continue
		}
		for _, part := range []string{"c2VjcmV0", "secret", privateText[8:20]} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error shows %q: %v", name, part, err)
			}
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != tc.text {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("nowhere", link)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                                dir + " is not a regular file",
		fifo:                               fifo + " is not a regular file",
		link:                               link + " is a symbolic link to nothing",
		filepath.Join(dir, "short", "key"): "short",
	} {
		if k, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), want) || k != (StoredKey{}) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestLoadKeyCreates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "flannel", "wgkey")
	made, err := LoadKey(path)
	if err != nil || !made.Created || made.Path != path || made.Warning != "" {
		t.Fatalf("created %v, path %s, warning %q, %v", made.Created, made.Path, made.Warning, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != base64.StdEncoding.EncodeToString(made.Key[:]) {
		t.Errorf("the file holds another text than the key's, %d bytes, %v", len(text), err)
	}
	again, err := LoadKey(path)
	if err != nil || again.Created || again.Key != made.Key {
		t.Errorf("read again: the same %v, created %v, %v", again.Key == made.Key, again.Created, err)
	}
	onlyKey(t, path)
}

// onlyKey tells whether path has mode 0600 and is alone in its directory.
func onlyKey(t *testing.T, path string) {
	t.Helper()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("left in the directory: %v, %v", names, err)
	}
}

// Who comes at the same time gets the same key, and one of them has made it.
func TestLoadKeyRace(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "weft", "wgkey")
		var keys [8]StoredKey
		var errs [len(keys)]error
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range keys {
			wg.Go(func() {
				<-start
				keys[i], errs[i] = LoadKey(path)
			})
		}
		close(start)
		wg.Wait()
		created := 0
		for i, k := range keys {
			if errs[i] != nil || k.Key != keys[0].Key {
				t.Errorf("reader %d: the first one's key %v, %v", i, k.Key == keys[0].Key, errs[i])
			}
			if k.Created {
				created++
			}
		}
		if created != 1 {
			t.Errorf("created %d times", created)
		}
		onlyKey(t, path)
	}
}

// Both ways to give a file its name leave alone what has it.
func TestPublishKeepsWhatIsThere(t *testing.T) {
	for name, publish := range map[string]func(from, to string) error{"rename": renameNew, "link": os.Link, "publish": publish} {
		dir := t.TempDir()
		from := write(t, filepath.Join(dir, "new"), "new", 0o600)
		to := write(t, filepath.Join(dir, "old"), "old", 0o600)
		if err := publish(from, to); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		if text, err := os.ReadFile(to); err != nil || string(text) != "old" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if err := publish(from, filepath.Join(dir, "free")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A placesTest has the three places below one directory.
type placesTest struct{ flannel, state, user string }

func places(t *testing.T) placesTest {
	dir := t.TempDir()
	return placesTest{filepath.Join(dir, "run/flannel/wgkey"), filepath.Join(dir, "var/weft/wgkey"), filepath.Join(dir, "home/weft/wgkey")}
}

func (p placesTest) resolve(t *testing.T) StoredKey {
	t.Helper()
	k, err := ResolveKeyFile(p.flannel, p.state, p.user)
	if err != nil {
		t.Fatal(err)
	}
	if onDisk, err := readKey(k.Path); err != nil || onDisk.Key != k.Key {
		t.Errorf("%s holds the returned key: %v, %v", k.Path, onDisk.Key == k.Key, err)
	}
	return k
}

// block puts a file where a directory would be needed.
func block(t *testing.T, path string) {
	t.Helper()
	write(t, filepath.Dir(path), "", 0o600)
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func TestResolveKeyFileState(t *testing.T) {
	p := places(t)
	first := p.resolve(t)
	if first.Path != p.state || !first.Created || first.Why != "kept over reboots" || exists(p.flannel) || exists(p.user) {
		t.Errorf("%+v", first)
	}
	// A key that flannel makes later does not change it.
	write(t, p.flannel, privateText, 0o400)
	if again := p.resolve(t); again.Key != first.Key || again.Created || again.Why != "kept over reboots" {
		t.Errorf("%+v, the same key %v", again, again.Key == first.Key)
	}
}

func TestResolveKeyFileAdopts(t *testing.T) {
	p := places(t)
	write(t, p.flannel, privateText, 0o400)
	k := p.resolve(t)
	if k.Key != countingKey() || k.Path != p.state || !k.Created || k.Why != "kept over reboots, adopted from "+p.flannel {
		t.Errorf("%+v", k)
	}
	onlyKey(t, p.state)
	if err := os.Remove(p.flannel); err != nil { // a reboot
		t.Fatal(err)
	}
	if k := p.resolve(t); k.Key != countingKey() || k.Created {
		t.Errorf("after a reboot %+v", k)
	}
}

// What flanneld left half written is no key to keep.
func TestResolveKeyFileAdoptsNoGarbage(t *testing.T) {
	p := places(t)
	write(t, p.flannel, "", 0o400)
	k := p.resolve(t)
	if k.Path != p.state || !k.Created || !strings.Contains(k.Why, "new: WireGuard key: "+p.flannel+" is empty") {
		t.Errorf("%+v", k)
	}
}

func TestResolveKeyFileFallsBack(t *testing.T) {
	p := places(t)
	block(t, p.state)
	k := p.resolve(t)
	if k.Path != p.flannel || !k.Created || !strings.HasPrefix(k.Why, "in flannel's place, which a reboot clears; ") ||
		!strings.Contains(k.Why, filepath.Dir(p.state)) {
		t.Errorf("%+v", k)
	}
	if again := p.resolve(t); again.Key != k.Key || again.Created {
		t.Errorf("%+v", again)
	}
	if err := os.Remove(filepath.Dir(p.state)); err != nil { // the key moves as soon as it can
		t.Fatal(err)
	}
	if moved := p.resolve(t); moved.Key != k.Key || moved.Path != p.state {
		t.Errorf("%+v, the same key %v", moved, moved.Key == k.Key)
	}

	p = places(t)
	block(t, p.state)
	block(t, p.flannel)
	if k := p.resolve(t); k.Path != p.user || !k.Created || !strings.HasPrefix(k.Why, "the user's own; ") {
		t.Errorf("%+v", k)
	}
	p.user = ""
	k, err := ResolveKeyFile(p.flannel, p.state, p.user)
	if err == nil || !strings.Contains(err.Error(), p.state) || !strings.Contains(err.Error(), p.flannel) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%+v, %v", k, err)
	}
}

// A broken key file stops the node; another key would be the wrong answer.
func TestResolveKeyFileRefusesGarbage(t *testing.T) {
	p := places(t)
	write(t, p.state, "garbage!", 0o600)
	if k, err := ResolveKeyFile(p.flannel, p.state, p.user); err == nil || !strings.Contains(err.Error(), p.state+" does not hold base64") {
		t.Errorf("%+v, %v", k, err)
	}
	if exists(p.flannel) || exists(p.user) {
		t.Error("a key was made elsewhere")
	}
}

// A plain user can neither read root's key nor make one beside it.
func TestResolveKeyFilePlainUser(t *testing.T) {
	p := places(t)
	write(t, p.state, privateText, 0o600)
	write(t, p.flannel, privateText, 0o400)
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(p.user)), 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if err := errors.Join(os.Chmod(p.state, 0), os.Chmod(p.flannel, 0)); err != nil {
			t.Fatal(err)
		}
	} else if err := errors.Join(os.Chmod(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(p.state)))), 0o755),
		os.Chown(filepath.Dir(filepath.Dir(p.user)), nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	var k StoredKey
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			if err = unix.Setfsuid(nobody); err != nil {
				return
			}
		}
		k, err = ResolveKeyFile(p.flannel, p.state, p.user)
	}()
	<-done
	if err != nil || k.Path != p.user || !k.Created || k.Key == countingKey() || !strings.Contains(k.Why, p.state) {
		t.Errorf("%+v, %v", k, err)
	}
}

const nobody = 65534

func TestUserKeyFile(t *testing.T) {
	for _, tc := range []struct{ state, home, want string }{
		{"/s", "/home/u", "/s/weft/wgkey"},
		{"", "/home/u", "/home/u/.local/state/weft/wgkey"},
		{"s", "/home/u", "/home/u/.local/state/weft/wgkey"},
		{"", "", ""},
		{"", "u", ""},
	} {
		env := map[string]string{"XDG_STATE_HOME": tc.state, "HOME": tc.home}
		if got := UserKeyFile(func(name string) string { return env[name] }); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

func FuzzPrivateKey(f *testing.F) {
	f.Add([]byte(privateText + "\n"))
	f.Add([]byte("c2VjcmV0"))
	f.Add(bytes.Repeat([]byte("A"), 44))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parsePrivateKey(text)
		if err != nil {
			if k != (PrivateKey{}) {
				t.Error("a key beside an error")
			}
			return
		}
		again, err := parsePrivateKey([]byte(base64.StdEncoding.EncodeToString(k[:])))
		if err != nil || again != k {
			t.Errorf("%q reads back as another key: %v", text, err)
		}
	})
}
