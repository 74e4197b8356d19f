"""Gradient norms: how strong D's gradient is at each of its layers."""


def layer_norms(D):
    """The L2 norm of the gradient that each weight of D with more than one dimension has now: {name: norm, a scalar
    tensor}, named and ordered as in D.named_parameters(). A weight that has no gradient is left out."""
    ### BEGIN SOLUTION
    weights = {name: weight for name, weight in D.named_parameters() if weight.dim() > 1}
    return {name: weight.grad.norm() for name, weight in weights.items() if weight.grad is not None}
    ### END SOLUTION
