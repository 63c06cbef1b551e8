package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An emulator that only plays what a guest says, and every way to end but the
// right one is an error that says which it was.
func TestMachineRun(t *testing.T) {
	const boot, done = `echo '{"kind":"boot","text":"6.1"}'`, `echo '{"kind":"done"}'`
	for name, c := range map[string]struct {
		script      []string
		boot, whole time.Duration
		want        string // in the error; empty if there is none
	}{
		"done":            {[]string{boot, done}, time.Hour, time.Hour, ""},
		"does not boot":   {[]string{"exec sleep 1000"}, time.Nanosecond, time.Hour, "has not started its first process within 1ns"},
		"does not end":    {[]string{boot, "exec sleep 1000"}, time.Hour, 100 * time.Millisecond, "have not ended within 100ms"},
		"ends too early":  {[]string{boot}, time.Hour, time.Hour, "before it was done"},
		"gives up":        {[]string{`echo '{"kind":"fail","text":"no tun"}'`}, time.Hour, time.Hour, "gave up: no tun"},
		"no emulator":     {[]string{"echo no such machine >&2", "exit 1"}, time.Hour, time.Hour, "no such machine"},
		"rubbish on port": {[]string{boot, "echo rubbish"}, time.Hour, time.Hour, `"rubbish\n"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/sh\n" + strings.Join(c.script, "\n") + "\n"
			must(t, os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(script), 0o755))
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			err := machine{boot: c.boot, whole: c.whole, console: "none"}.run(t.Context(), func(event) {})
			if got := fmt.Sprint(err); (c.want == "") != (err == nil) || !strings.Contains(got, c.want) && err != nil {
				t.Errorf("error %q, want %q", got, c.want)
			}
		})
	}
}

func TestConsoleTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console")
	must(t, os.WriteFile(file, []byte("one\r\ntwo\r\nthree\r\n"), 0o644))
	if got := consoleTail(file, 2); got != "two\nthree" {
		t.Errorf("%q", got)
	}
}
