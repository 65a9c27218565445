package tracer_test

import (
	"os"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
)

func TestMain(m *testing.M) {
	lab.MaybeChild() // the lab's containers are processes of this binary
	os.Exit(m.Run())
}
