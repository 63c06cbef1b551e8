package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
)

// What a daemon says reaches the terminal as one line without controls.
func TestReportIsClean(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdio: stdio{err: &out}}
	code := a.report(&cobra.Command{Use: "weft"}, client.Exit(2, errors.New("a lease of \x1b[2Jn2\u009b\nand more")))
	if want := "weft: a lease of ?[2Jn2?; and more\n"; code != 2 || out.String() != want {
		t.Errorf("code %d, %q, want %q", code, out.String(), want)
	}
}
