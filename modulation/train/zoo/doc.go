// Package zoo holds the networks that Facet trains from random weights, and the ways of the paper's
// comparison to make them answer for several tasks.
//
// An Architecture is a backbone with named places: Sites, where modulation can go, and the Branch from
// which on tasks can have a tail of their own. A Method says what tasks have of their own: nothing,
// scales at sites, a tail, masks on the embedding, or a whole network.
package zoo
