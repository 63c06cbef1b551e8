package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// twoDashes turns Go's flag syntax into pflag's: -name becomes --name. It
// steps over the values of flags, so a value that begins with a dash stays as
// it is, and stops where Go's flag package does, at the first argument that is
// no flag or at "--".
func twoDashes(fs *pflag.FlagSet, args []string) []string {
	out := slices.Clone(args)
	if out == nil {
		out = []string{} // cobra takes nil for os.Args
	}
	for i := 0; i < len(out); i++ {
		body := strings.TrimPrefix(strings.TrimPrefix(out[i], "-"), "-")
		if body == "" || body == out[i] {
			break
		}
		name, _, hasValue := strings.Cut(body, "=")
		if len(name) > 1 {
			out[i] = "--" + body
		}
		if f := fs.Lookup(name); f != nil && f.NoOptDefVal == "" && !hasValue {
			i++
		}
	}
	return out
}

// envPrefix begins the name of each variable that sets a flag.
const envPrefix = "FLANNELD_"

// envName is the variable that sets the flag called name.
func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// readEnvironment sets the flags that the command line did not from their
// FLANNELD_* variables. An empty variable counts as unset. It notes in o which
// variable set which flag, and a warning for each variable that means nothing.
func readEnvironment(fs *pflag.FlagSet, o *options, environ []string) error {
	known := make(map[string]flagRow)
	for _, g := range flagTable(o) {
		for _, r := range g.rows {
			known[envName(r.name)] = r
		}
	}
	o.fromEnv = make(map[string]string)
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || text == "" {
			continue
		}
		r, ok := known[name]
		switch {
		case !ok:
			o.warnings = append(o.warnings, name+" sets no flag and is ignored")
		case r.kind&noEnv != 0 || fs.Changed(r.name) || fs.Lookup(r.name) == nil:
		default:
			if err := fs.Set(r.name, text); err != nil {
				return usagef("%s", badValue(name, text, err))
			}
			o.fromEnv[r.name] = name
		}
	}
	return nil
}

// badValue words a refused value. The cause alone is taken from pflag's error.
func badValue(where, text string, err error) string {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		err = invalid.Unwrap()
	}
	if strings.Contains(text, "@") { // may be a URL with a password
		return fmt.Sprintf("%s: %v", where, err)
	}
	return fmt.Sprintf("%s=%s: %v", where, text, err)
}

// flagError words pflag's errors the way all our errors read: the flag, the
// value, the cause.
func flagError(cmd *cobra.Command, err error) error {
	var (
		invalid *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		unknown *pflag.NotExistError
	)
	switch {
	case errors.As(err, &invalid):
		return usagef("%s", badValue("--"+invalid.GetFlag().Name, invalid.GetValue(), err))
	case errors.As(err, &missing):
		return usagef("--%s: a value is missing", missing.GetFlag().Name)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usagef("-%s: unknown flag", unknown.GetSpecifiedShortnames())
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if like := nearest(names, name); like != "" {
			return usagef("--%s: unknown flag, perhaps --%s", name, like)
		}
		return usagef("--%s: unknown flag", name)
	}
	return err
}

// nearest returns the one of names that is most like name, or "" if none is.
func nearest(names []string, name string) (like string) {
	best := 3
	for _, n := range names {
		if d := editDistance(n, name); d < best && d < len(name) {
			best, like = d, n
		}
	}
	return like
}

// editDistance counts the characters to insert, delete or replace to turn a
// into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
