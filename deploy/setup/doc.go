// Package setup holds the scripts that install what make's targets need. Its
// only Go code is their test.
package setup
