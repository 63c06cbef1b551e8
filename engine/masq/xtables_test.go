package masq

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePrograms writes an iptables whose save prints the file "listing" and
// whose restore counts its calls and then puts "after" in its place.
func fakePrograms(t *testing.T, after string) (x *xtables, restores func() int) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	write("listing", listing())
	write("after", after)
	write("count", "")
	write("ipt-save", "#!/bin/sh\ncat "+dir+"/listing\n")
	write("ipt-restore", "#!/bin/sh\necho restored >>"+dir+"/count\ncp "+dir+"/after "+dir+"/listing\n")
	restores = func() int {
		b, err := os.ReadFile(filepath.Join(dir, "count"))
		must(t, err)
		return strings.Count(string(b), "restored")
	}
	return &xtables{prefix: filepath.Join(dir, "ipt"), known: map[string]*xtMemory{}}, restores
}

// An iptables that lists our rules in a form of its own is written to twice,
// to be sure, and not for ever.
func TestOddListingSettles(t *testing.T) {
	odd := strings.ReplaceAll(masq4Lines, "0x4000/0x4000", "16384/16384")
	x, restores := fakePrograms(t, listing(":FLANNEL-POSTRTG - [0:0]", jumpLine, odd))
	c := xtChains(family{masq: masqRules(c4, p4, multicast[0], true)}, true)[0]
	for i := range 4 {
		changed, err := x.applyChain(t.Context(), false, c)
		if err != nil || changed != (i == 0) {
			t.Errorf("call %d: changed %v, err %v", i, changed, err)
		}
	}
	if n := restores(); n != 2 {
		t.Errorf("written %d times, want 2", n)
	}
	// A deviation from the settled form is noticed all the same.
	dir := filepath.Dir(x.prefix)
	must(t, os.WriteFile(filepath.Join(dir, "listing"), []byte(listing()), 0o644))
	if changed, err := x.applyChain(t.Context(), false, c); err != nil || !changed || restores() < 3 {
		t.Errorf("after a flush: changed %v, err %v, written %d times", changed, err, restores())
	}
}

// The complaint of a program is in the error.
func TestProgramFailure(t *testing.T) {
	x, _ := fakePrograms(t, "")
	must(t, os.WriteFile(x.prefix+"-restore", []byte("#!/bin/sh\necho line 3 failed >&2\nexit 1\n"), 0o755))
	c := xtChains(family{masq: masqRules(c4, p4, multicast[0], true)}, true)[0]
	if _, err := x.applyChain(t.Context(), false, c); err == nil || !strings.Contains(err.Error(), "line 3 failed") {
		t.Errorf("err %v", err)
	}
	// Not being able to look is no trouble where nothing is wanted.
	must(t, os.Remove(x.prefix+"-save"))
	if _, err := x.applyChain(t.Context(), false, xtChains(family{}, true)[0]); err != nil {
		t.Errorf("nothing wanted: %v", err)
	}
}
