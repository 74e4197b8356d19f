# %%
def train_step(step, real, update_D, update_G, record_norms):
    """A step of D on real pictures [N, 3, 64, 64], and every n_critic steps one of G. Returns their losses.

    Every norms_every steps the norms of D's gradients are recorded, before G's step adds to them. loss_G is None in
    steps without G.
    """
    loss_D, loss_G = update_D(real), None
    if step % settings.norms_every == 0:
        record_norms(step)
    if step % settings.n_critic == 0:
        loss_G = update_G(len(real))
    return loss_D, loss_G
