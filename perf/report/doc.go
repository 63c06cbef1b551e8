// Package report turns the figures of a run into medians, ratios, tables and
// plots. It knows the measured values only by name and measures nothing
// itself.
//
// A run is a list of cells: one load on one plane over one wire in one round.
// Planes alternate within a round, so what disturbs the machine for a minute
// disturbs all of them. A ratio is therefore taken between two planes of the
// same round, and the median of the rounds' ratios is what is quoted, not the
// ratio of two medians.
package report
