package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"weft/perf/report"
)

// write prints the tables and, if there is a folder for them, writes all forms
// of the results into it.
func (r *runner) write() error {
	markdown := report.Markdown(r.result)
	if _, err := io.WriteString(r.tables, markdown); err != nil {
		return err
	}
	if r.out == "" {
		return nil
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r.result, "", "\t")
	if err != nil {
		return err
	}
	name := cmp.Or(r.suite, "results")
	files := map[string]string{name + ".json": string(text) + "\n", name + ".md": markdown}
	if r.suite == "" {
		maps.Copy(files, report.Plots(r.result))
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(r.out, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.logging, "results are in %s\n", r.out)
	return nil
}
