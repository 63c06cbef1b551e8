package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is stamped by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// A versionInfo is what `weft version --json` prints.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // with "-dirty" when files had changed
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func readVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if v.Version == "" {
		v.Version = "dev"
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if v.Commit != "" {
		v.Commit += dirty
	}
	return v
}

// versionText is the one line that `weft version` and --version print.
func versionText() string {
	v := readVersion()
	return fmt.Sprintf("weft %s %s %s/%s", v.Version, v.Go, v.OS, v.Arch)
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  weft version
  weft version --json`,
		Args: cobra.NoArgs,
		RunE: doing(func(*cobra.Command, []string) error {
			if !asJSON {
				_, err := fmt.Fprintln(a.out, versionText())
				return err
			}
			return json.NewEncoder(a.out).Encode(readVersion())
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
