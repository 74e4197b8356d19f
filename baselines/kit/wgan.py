"""WGAN's step of G."""


def generator_step(D, G, optimizer_G, z):
    """One step of G on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    loss = -D(G(z)).mean()
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss
    ### END SOLUTION
