# %% include: start

# %%
batches = face_batches(faces, settings.batch_size, settings.seed, start)


def update_D(real):
    return discriminator_step(D, G, optimizer_D, real, noise(len(real)))


def update_G(count):
    loss = generator_step(D, G, optimizer_G, noise(count))
    average_G.update_parameters(G)
    return loss


def take_step(step):
    return train_step(step, next(batches), update_D, update_G, norms.add)
