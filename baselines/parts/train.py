# %% include: start

# %%
batches = face_batches(faces, settings.batch_size, settings.seed, start)


def update_D(real):
    with frozen(G):
        return discriminator_step(D, G, scaled_D, real, noise(len(real)))


def update_G(count):
    with frozen(D):
        loss = generator_step(D, G, scaled_G, noise(count))
    average_G.update_parameters(G)
    return loss


def take_step(step):
    return train_step(step, next(batches), update_D, update_G, norms.add)
