package text

import (
	"io"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/result"
)

// WriteResult writes the result of a comparison or a bench: its tables, and its
// answer in words at the end.
func WriteResult(w io.Writer, d result.Document, o Options) error {
	return write(w, page.Result(d, o.page()))
}
