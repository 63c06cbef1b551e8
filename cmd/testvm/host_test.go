package main

import (
	"slices"
	"strings"
	"testing"
)

func TestImagePackage(t *testing.T) {
	got, err := imagePackage("Package: linux-image-cloud-amd64\nProvides: wireguard-modules\nDepends: linux-image-5.10.0-46-cloud-amd64 (= 5.10.262-1)\nSize: 1504\n")
	if want := "linux-image-5.10.0-46-cloud-amd64"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{"", "Depends: linux-base\n", "Recommends: linux-image-5.10.0-46-cloud-amd64\n", "Depends: linux-image-cloud-amd64\n"} {
		if got, err := imagePackage(bad); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func TestSources(t *testing.T) {
	got := mirror{url: "http://m/"}.sources(release{"5.10", "bullseye"})
	for _, want := range []string{"] http://m/debian bullseye main\n", "] http://m/debian-security bullseye-security main\n", "signed-by=" + keyring} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestParseLdd(t *testing.T) {
	got, err := parseLdd("\tlinux-vdso.so.1 (0x00007ffe4b5f2000)\n\tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f1c)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f1d)\n")
	if want := []string{"/lib/x86_64-linux-gnu/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if got, err := parseLdd("\tlibgone.so.1 => not found\n"); err == nil {
		t.Errorf("a missing library gives %q", got)
	}
}

func TestChoose(t *testing.T) {
	all := []suite{{dir: "tunnel", run: "^TestA", skip: "S"}, {dir: "cmd/e2e", run: "^TestB"}}
	for _, c := range []struct {
		dirs []string
		run  string
		want []suite
	}{
		{nil, "", all},
		{[]string{"./cmd/e2e/"}, "", all[1:]},
		{[]string{"tunnel"}, "X", []suite{{dir: "tunnel", run: "X", skip: "S"}}},
	} {
		if got, err := choose(all, c.dirs, c.run); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q %q: %v, %v; want %v", c.dirs, c.run, got, err, c.want)
		}
	}
	if all[0].run != "^TestA" {
		t.Error("the table was changed")
	}
	if got, err := choose(all, []string{"encap"}, ""); err == nil {
		t.Errorf("encap gives %v", got)
	}
	if got, err := chooseReleases([]string{"6.1", "2.6"}); err == nil {
		t.Errorf("2.6 gives %v", got)
	}
}
