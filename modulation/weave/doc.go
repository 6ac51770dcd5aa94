// Package weave rewrites ONNX graphs without a change of what they compute: it weaves modulation into a
// CNN at named sites, folds scales and batch norms into weights, computes once what several tasks have
// in common, drops channels that are dead for a task, and joins the tails of two models on one trunk.
//
// All functions leave the model they are given as it is; the result shares weights with it. Changes of
// rounding apart (fold multiplies weights where the original multiplies activations), outputs stay
// equal; functions say where they stay equal bit for bit.
package weave
