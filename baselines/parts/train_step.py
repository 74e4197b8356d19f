# %% todo="train_step"
def train_step(step, real, update_D, update_G, record_norms):
    """One step of D on real pictures, and every settings.n_critic steps one of G. Returns their losses.

    update_D(real) makes D's step and returns its loss, update_G(len(real)) G's. Every settings.norms_every steps
    record_norms(step) reads the gradients that D has now. loss_G is None in steps without G.
    """
    ### BEGIN SOLUTION
    loss_D, loss_G = update_D(real), None
    if step % settings.norms_every == 0:
        record_norms(step)
    if step % settings.n_critic == 0:
        loss_G = update_G(len(real))
    return loss_D, loss_G
    ### END SOLUTION
