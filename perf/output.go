package main

import (
	"encoding/json"
	"fmt"
	"io"
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
	files := map[string]string{"results.json": string(text) + "\n", "results.md": markdown}
	for name, plot := range report.Plots(r.result) {
		files[name] = plot
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(r.out, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.logging, "results are in %s\n", r.out)
	return nil
}
