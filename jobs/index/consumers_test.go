package index

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
)

// The programs that the README shows read a snapshot without anything of Facet's: SQL in DuckDB, and
// Go. They must agree on the nearest image of the first one.
func TestConsumersReadSnapshots(t *testing.T) {
	root := testenv.Root(t)
	c := night(t, testenv.Fashion(t, 200), t.TempDir())
	c.ShardSize = 80
	run(t, c)
	command := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	sql := command("node", "tools/duckdb/query.mjs", "--set", "root="+c.Output, "--set", "task=baseColour", filepath.Join("docs", "examples", "read.sql"))
	if n := strings.Count(sql, `"similarity"`); n != 5 {
		t.Fatalf("DuckDB prints %d neighbours, want 5:\n%s", n, sql)
	}
	text := command("go", "run", "./docs/examples/go", c.Output, "baseColour")
	for word := range strings.FieldsSeq(text) {
		if strings.HasSuffix(word, ".jpg") && strings.Contains(strings.SplitN(sql, "\n", 2)[0], word) {
			return
		}
	}
	t.Errorf("Go says %q, DuckDB\n%s", text, sql)
}
